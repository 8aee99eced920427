"""Made-up weights, what stands in for the code that knows networks, and a home to bring them into. No test by itself.

A file is good if it begins with the magic word; everything else is refused as the real inspection would.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repro.catalog import load_catalog
from repro.download import Downloader, Patience
from repro.download.locks import DownloadLock
from repro.errors import CorruptFile, ProfileError, WeightsUnavailable
from repro.spec import CheckpointSpec, DataFile, HostSpec, InputSpec, ModelSpec
from repro.weights import Networks, Wanted, WeightsAcquisition, WeightsManifest
from repro.workspace import Workspace

MAGIC = b"weights"
GOOD = MAGIC + bytes(range(256)) * 40
OTHER = MAGIC + b"!" + bytes(range(256)) * 40
FOREIGN = b"of another architecture" + bytes(1000)
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
QUICK = Patience(connect_s=1, read_s=0.4, attempts=3, first_wait_s=0.01, longest_wait_s=0.02)

REVISION = "a" * 40
REPOSITORY = "timm/toy_vit.tag_in1k"
HUB_PATH = f"{REPOSITORY}/resolve/{REVISION}/model.safetensors"
CONFIG_PATH = f"{REPOSITORY}/resolve/{REVISION}/config.json"
CONFIG = json.dumps({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}).encode()

MODEL = ModelSpec(name="timm/toy_vit.tag_in1k", family="vit")
KEY = "timm_toy_vit_tag_in1k"
IN_HOUSE = ModelSpec(name="toy", family="vit", patch_size=4, width=8, depth=1, num_heads=2)
LIBRARY_INPUT = InputSpec(
    image_size=224, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), interpolation="bicubic", source="toy library 1.0"
)


class Silent:
    """A display of transfers that shows nothing."""

    def started(self, name: str, total_bytes: int | None, done_bytes: int) -> None: ...

    def advanced(self, name: str, num_bytes: int) -> None: ...

    def restarted(self, name: str, done_bytes: int) -> None: ...

    def finished(self, name: str) -> None: ...

    def stopped(self, name: str) -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Found:
    content_sha256: str
    num_parameters: int


@dataclass(frozen=True)
class Library:
    files: tuple[DataFile, ...]
    input: InputSpec = LIBRARY_INPUT


def inspect(path: Path, model: ModelSpec) -> Found:
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise CorruptFile(f"{path} holds no weights of {model.name}", remedy="Bring another.")
    return Found(content_sha256=hashlib.sha256(b"tensors" + content).hexdigest(), num_parameters=len(content))


def input_from_config(text: str, architecture: str) -> InputSpec:
    try:
        mean = tuple(json.loads(text)["pretrained_cfg"]["mean"])
    except (ValueError, KeyError) as error:
        raise CorruptFile(f"That of {architecture} cannot be read: {error}.", remedy="Bring another.") from error
    return InputSpec(image_size=224, mean=mean, std=(0.5, 0.5, 0.5), interpolation="bicubic", source="config.json")


def library(name: str) -> Library:
    if name != MODEL.name:
        raise ProfileError(f"there is no {name}", remedy="Correct it.")
    return Library(files=(DataFile(host="huggingface", path=HUB_PATH),))


def library_input(name: str) -> InputSpec | None:
    return LIBRARY_INPUT


NETWORKS = Networks(library=library, library_input=library_input, input_from_config=input_from_config, inspect=inspect)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digits_name(content: bytes, stem: str = "toy", suffix: str = ".pth") -> str:
    return f"{stem}-{sha256(content)[:8]}{suffix}"


def data_file(path: str, content: bytes | None = None, *, host: str = "huggingface") -> DataFile:
    """A file that is pinned to `content`, if that is given."""
    if content is None:
        return DataFile(host=host, path=path)
    return DataFile(host=host, path=path, size_bytes=len(content), sha256=sha256(content))


def checkpoint(*files: DataFile, model: ModelSpec = MODEL, path: Path | None = None) -> CheckpointSpec:
    return CheckpointSpec(name=model.name, family=model.family, file=files, path=path)


@dataclass
class Home:
    """A home, and what bringing weights into it takes."""

    workspace: Workspace
    source_dir: Path | None = None
    offline: bool = False
    networks: Networks = NETWORKS
    hosts: dict[str, HostSpec] = field(default_factory=lambda: load_catalog().hosts)
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def acquisition(self) -> Iterator[WeightsAcquisition]:
        with Downloader(display=Silent(), patience=QUICK) as downloader:
            yield WeightsAcquisition(
                workspace=self.workspace,
                hosts=self.hosts,
                lock=DownloadLock(self.workspace),
                source_dir=self.source_dir,
                downloader=None if self.offline else downloader,
                networks=self.networks,
                say=self.lines.append,
            )

    def bring(self, spec: CheckpointSpec, model: ModelSpec = MODEL) -> WeightsManifest:
        with self.acquisition() as acquisition:
            return acquisition.bring(Wanted.of(spec, model, self.networks))

    def refusal(self, spec: CheckpointSpec, model: ModelSpec = MODEL) -> str:
        """What bringing it ends with: message and remedy."""
        with pytest.raises(WeightsUnavailable) as caught:
            self.bring(spec, model)
        return f"{caught.value.message}\n{caught.value.remedy}"

    def folder(self, spec: CheckpointSpec) -> Path:
        return self.workspace.home / "weights" / spec.key

    def names(self, spec: CheckpointSpec) -> set[str]:
        """Files of the checkpoint's folder."""
        return {path.name for path in self.folder(spec).iterdir()}


MakeHome = Callable[[str], Home]
