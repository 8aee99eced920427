# vitrepro in a container.
#
#   docker build -t vitrepro .                                  NVIDIA drivers from 580 on
#   docker build -t vitrepro:cuda128 --build-arg LOCK=cuda128 --build-arg BASE_IMAGE=… .     older drivers: docs/container.md
#   docker run --gpus all -v vitrepro:/vitrepro vitrepro all
#
# Four stages: `system` (Debian packages that run), `packages` (the hash-locked packages, the large and rarely changing part),
# `project` (this checkout's wheel), and the image itself, which only copies from them: a change of the code repeats neither a
# download nor the layer of 5 GB. `scripts/image` passes the commit along; `scripts/image-check` builds and tries all of it.

# torch's wheels bring the CUDA libraries, so the smallest CUDA image is enough: it says to the NVIDIA container toolkit what to
# mount, and has the compatibility library for data-centre GPUs with older drivers. Pinned by digest (docs/container.md: whence).
ARG BASE_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS system
# Pango, HarfBuzz and fonts are for the PDF. Debian packages carry no versions here: the base's own release decides them, and old
# ones vanish from the mirrors. The font cache is made now, because no later user may write it.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates python3 fontconfig fonts-dejavu-core fonts-liberation libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt \
    && fc-cache -f


FROM system AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
# The environment that ships has no pip; this one fills it and stays behind.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/vitrepro
# Which requirements/*.lock.txt: cuda, cuda128, or venv, which leaves torch to TORCH (for images without CUDA).
ARG LOCK=cuda
ARG TORCH=
ARG TORCH_INDEX=
COPY requirements/${LOCK}.lock.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/pip/bin/pip --python /opt/vitrepro/bin/python install --require-hashes --no-deps -r "/requirements/${LOCK}.lock.txt" \
    && if [ -n "${TORCH}" ]; then \
        /opt/pip/bin/pip --python /opt/vitrepro/bin/python install --no-deps ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "${TORCH}"; \
    fi \
    && rm -rf /opt/vitrepro/lib/python3*/site-packages/torch/test /opt/vitrepro/lib/python3*/site-packages/torch/include


FROM packages AS project
COPY requirements/wheel.lock.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/pip/bin/pip install --require-hashes --no-deps -r /requirements/wheel.lock.txt
WORKDIR /source
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY report_templates report_templates
COPY repro repro
# `--root` puts the files where they will lie in the image, below a folder that has nothing else in it.
RUN /opt/pip/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheel . \
    && /opt/pip/bin/pip --python /opt/vitrepro/bin/python install --no-deps --no-index --root /overlay /wheel/*.whl \
    && install -D -m 644 LICENSE /overlay/usr/share/doc/vitrepro/LICENSE


FROM system
ARG LOCK=cuda
COPY --from=packages /opt/vitrepro /opt/vitrepro
COPY --from=project /overlay/ /

# Whatever user runs it: the home and /tmp can be written by all, as /tmp always can. A named volume takes this mode over.
RUN mkdir -m 1777 /vitrepro

# HOME is /tmp because the user may have no entry in /etc/passwd; USER and LOGNAME are for libraries that ask for a name. Caches lie
# under the home folder, so that they last as long as the results, except torch's own: it makes their folder (in /tmp) as soon as it
# is imported, and a home that cannot be written must end in our message, not in its traceback. NVIDIA_DISABLE_REQUIRE lets the container start with a driver
# that is too old, because `vitrepro check` says more about it than the toolkit does.
ENV PATH=/opt/vitrepro/bin:$PATH \
    VITREPRO_HOME=/vitrepro \
    VITREPRO_LOCK=${LOCK} \
    HOME=/tmp \
    USER=vitrepro \
    LOGNAME=vitrepro \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/vitrepro/cache \
    HF_HOME=/vitrepro/cache/huggingface \
    TORCH_HOME=/vitrepro/cache/torch \
    MPLCONFIGDIR=/vitrepro/cache/matplotlib \
    CUDA_CACHE_PATH=/vitrepro/cache/cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_DISABLE_REQUIRE=1

# The image proves itself: the command starts, and a stored run becomes page and PDF, as the user and with the fonts of the image.
USER 1000:1000
RUN --mount=type=bind,source=tests/stored_run,target=/stored \
    vitrepro --help > /dev/null \
    && cp -r /stored /tmp/stored \
    && VITREPRO_LOCK='' vitrepro report --profile /stored/profile.toml --home /tmp/stored \
    && test -s /tmp/stored/report/stored/report.pdf \
    && rm -rf /tmp/stored /vitrepro/cache

WORKDIR /vitrepro
ENTRYPOINT ["vitrepro"]

# Last, because it changes with every commit.
ARG COMMIT=
ENV VITREPRO_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="vitrepro" \
      org.opencontainers.image.description="Re-tests whether a Vision Transformer loses to a ResNet on small data and wins once pre-trained at scale" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="README.md and docs/container.md of the source" \
      org.opencontainers.image.revision="${COMMIT}"
