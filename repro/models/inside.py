"""What a trained ViT looks like from within: its filters, its position embeddings, its attention (the paper's figures 6 and 7).

Must not know cells, data sets or pages. Read `look_inside` first.

Shape letters: as in `repro.inside`, and B images, D width, P patches, N numbers of a filter.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from repro.inside import Inside
from repro.models.attention import SMALLEST, Anatomy, anatomy_of, attend, patch_distances

Floats = npt.NDArray[np.float64]

MOST_FILTERS = 28
"""As many principal components as the paper's figure 7 shows."""
NUM_SHUFFLES = 499
"""With so many the share that reaches a value is told to half a point where it is small."""
SHUFFLE_SEED = 0
MOST_PLACES = 7
"""Rows and columns for which similarities to all patches are kept; the figure has 7 x 7."""


def look_inside(
    model: nn.Module, x_BCHW: Tensor, *, images_IHWC: npt.NDArray[np.uint8], indices_I: npt.NDArray[np.int32]
) -> Inside | str:
    """Look at a model on normalised images float (B, C, H, W), which lie on its device; or say, in words, why it cannot be.

    The first I of the images are those shown as `images_IHWC`; they stand at `indices_I` in the test set. Shuffles
    have a generator of their own; the model is left as it was. Raises ValueError where its tokens are not what its kind has.
    """
    anatomy = anatomy_of(model)
    if not isinstance(anatomy, Anatomy):
        return anatomy
    patch_size = anatomy.projection.kernel_size[0]
    filters_FHWC, variances_N = principal_filters(_numbers(anatomy.projection.weight))
    similarities_PP = cosine_similarities(_numbers(anatomy.positions_PD))
    same_line, elsewhere = row_column_similarity(similarities_PP)
    num_patches = len(similarities_PP)
    side = round(num_patches**0.5)
    places_K = spread_places(side)
    distances_LA, rollouts_IP = attend(model, anatomy, x_BCHW, num_rollouts=len(indices_I))
    maps_GGGG = similarities_PP.reshape(side, side, side, side)
    return Inside(
        patch_size=patch_size,
        has_class_token=anatomy.reads_class_token,
        num_images=len(x_BCHW),
        filters_FHWC=filters_FHWC,
        variances_N=variances_N.astype(np.float32),
        similarities_KKGG=maps_GGGG[np.ix_(places_K, places_K)].astype(np.float16),
        places_K=places_K,
        similarity_same_line=same_line,
        similarity_elsewhere=elsewhere,
        shuffled_S=shuffled_differences(
            _numbers(anatomy.positions_PD), NUM_SHUFFLES, generator=np.random.default_rng(SHUFFLE_SEED)
        ),
        distances_LA=patch_size * distances_LA.numpy().astype(np.float32),
        uniform_distance=patch_size * float(patch_distances(num_patches).mean()),
        rollouts_IGG=rollouts_IP.numpy().reshape(-1, side, side).astype(np.float16),
        images_IHWC=images_IHWC,
        indices_I=indices_I,
    )


def principal_filters(weights_DCHW: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Leading principal components of D filters as pictures (F, H, W, C), and every component's share of the variance, (N,).

    Each picture has its own scale: 128 is zero, and its largest value, of which the sign is made positive, 255.
    """
    D, C, H, W = weights_DCHW.shape
    weights_DN = weights_DCHW.reshape(D, -1)
    centred_DN = weights_DN - weights_DN.mean(axis=0)
    values_N, vectors_NN = np.linalg.eigh(centred_DN.T @ centred_DN)
    # More components than filters, less the one that the mean takes, are none.
    num = min(D - 1, C * H * W)
    values_N, vectors_NN = values_N[::-1][:num].clip(min=0), vectors_NN[:, ::-1].T[: min(num, MOST_FILTERS)]
    largest = vectors_NN[np.arange(len(vectors_NN)), np.abs(vectors_NN).argmax(axis=1)][:, None]
    pictures = np.rint(128 + 127 * vectors_NN / largest).astype(np.uint8)
    return pictures.reshape(-1, C, H, W).transpose(0, 2, 3, 1), values_N / max(values_N.sum(), SMALLEST)


def cosine_similarities(positions_PD: Floats) -> Floats:
    """Cosine similarity of every two position embeddings, (P, P)."""
    unit_PD = _unit(positions_PD)
    similarities_PP: Floats = unit_PD @ unit_PD.T
    return similarities_PP


def row_column_similarity(similarities_PP: Floats) -> tuple[float, float]:
    """Mean similarity of two patches in one row or column, and of all other pairs; a patch and itself are no pair.

    Of an image of one patch, or one that has no other pairs, a mean of none is 0.
    """
    side = round(len(similarities_PP) ** 0.5)
    rows_P, columns_P = np.divmod(np.arange(side**2), side)
    in_line_PP = (rows_P[:, None] == rows_P) | (columns_P[:, None] == columns_P)
    pairs_PP = ~np.eye(side**2, dtype=bool)
    kinds = (similarities_PP[in_line_PP & pairs_PP], similarities_PP[~in_line_PP])
    same_line, elsewhere = (float(kind.mean()) if kind.size else 0.0 for kind in kinds)
    return same_line, elsewhere


def shuffled_differences(positions_PD: Floats, number: int, *, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """The first minus the second of `row_column_similarity` where embeddings are dealt out to patches at random, (number,)."""
    num_patches, side = len(positions_PD), round(len(positions_PD) ** 0.5)
    num_in_line = 2 * num_patches * (side - 1)
    num_elsewhere = num_patches * (num_patches - 1) - num_in_line
    if not num_elsewhere:
        return np.zeros(number, dtype=np.float32)
    unit_PD = _unit(positions_PD)
    own = (unit_PD**2).sum()
    whole = (unit_PD.sum(axis=0) ** 2).sum() - own
    found = []
    for _ in range(number):
        dealt_GGD = unit_PD[generator.permutation(num_patches)].reshape(side, side, -1)
        # All similarities in a row, each patch's with itself among them, add up to the square of the sum of its vectors.
        in_line = sum((dealt_GGD.sum(axis=axis) ** 2).sum() - own for axis in (0, 1))
        found.append(in_line / num_in_line - (whole - in_line) / num_elsewhere)
    return np.array(found, dtype=np.float32)


def spread_places(side: int) -> npt.NDArray[np.int32]:
    """At most `MOST_PLACES` of `side` rows, evenly spread, the first and the last among them."""
    return np.unique(np.rint(np.linspace(0, side - 1, min(side, MOST_PLACES)))).astype(np.int32)


def _unit(vectors_PD: Floats) -> Floats:
    unit_PD: Floats = vectors_PD / np.linalg.norm(vectors_PD, axis=1, keepdims=True).clip(min=SMALLEST)
    return unit_PD


def _numbers(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().double().cpu().numpy())
