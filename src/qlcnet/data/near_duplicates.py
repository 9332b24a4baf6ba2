"""Images that show nearly the same picture, found by perceptual hash and confirmed by their pixels; as groups too.

Thresholds were chosen on photographs of skin whose lesions are known: docs/statistics.md, Near-duplicates.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace

import numpy as np

from qlcnet.compiled import compiled
from qlcnet.config import Protocol
from qlcnet.data.imageset import DataError, ImageSet, rows_in_chunk
from qlcnet.quantum.images import to_grey

log = logging.getLogger("qlcnet")
SIDE = 32  # pixels: larger images are averaged down to it, as in Zauner (2010)
SMALLEST = 16  # pixels: below, images of one class are alike without being copies
BITS = 8  # of the 64 of a hash, in which near-duplicates may differ
CORRELATION = 0.97  # of grey pixels, that near-duplicates have at least
FLAT = 2.0  # grey levels: with a smaller standard deviation a picture is its noise, and like no other
MOST_PAIRS = 5_000_000  # 80 MB; with more, the images of a set are alike as a whole
CANDIDATES = 1 << 22  # pairs held while hashes are compared: 32 MB
LARGE = 0.05  # of the images: a group that holds more is chained together, not one picture


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of images of a set, the closest first.

    pairs: int64 (P, 2), the smaller position first; copies (equal pixel by pixel) are paired with their first alone,
    and only that first is paired with others. correlation: float64 (P,), 1 for copies. copies: bool (P,). groups:
    int64 (N,), equal for images that a chain of pairs connects.
    """

    pairs: np.ndarray
    correlation: np.ndarray
    copies: np.ndarray
    groups: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Images of each group of several, int64, the largest first."""
        counts = np.bincount(self.groups)
        return np.sort(counts[counts > 1])[::-1]


def find_near_duplicates(images: np.ndarray) -> NearDuplicates:
    """Pairs whose hashes differ in at most BITS bits and whose grey pixels correlate by CORRELATION or more.

    images: uint8 (N, H, W, C), also memory-mapped, of SMALLEST pixels a side or more: else DataError. Brightness and
    contrast make no difference; pictures that were mirrored, turned or cut are not found. Every hash is compared with
    every other, so that time grows with the square of N; memory does not.
    """
    if min(images.shape[1:3]) < SMALLEST:
        raise DataError(
            f"near-duplicates can be told from {SMALLEST} pixels a side on; these images have "
            f"{images.shape[1]} x {images.shape[2]}"
        )
    codes = copy_codes(images)
    first = np.flatnonzero(codes == np.arange(len(codes)))
    small = thumbnails(images)
    near, correlation = _near_pairs(small[first])
    copied = np.flatnonzero(codes != np.arange(len(codes)))
    pairs = np.concatenate([np.stack([codes[copied], copied], axis=1), first[near]])
    correlation = np.concatenate([np.ones(len(copied)), correlation])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -correlation))
    copies = np.arange(len(pairs)) < len(copied)
    return NearDuplicates(pairs[order], correlation[order], copies[order], connected(len(images), pairs))


def with_near_duplicates_as_groups(images: ImageSet, protocol: Protocol) -> ImageSet:
    """The set with the groups that its protocol asks for: `grouped: near-duplicates` makes them, else it is as it was.

    Raises DataError where groups are known, which say more, and where images are too small to tell.
    """
    if protocol.grouped != "near-duplicates":
        return images
    if images.groups is not None:
        raise DataError(
            "protocol.grouped is near-duplicates, but the groups of this set are known, and hold photographs of one "
            "lesion or patient that are not alike too: write `grouped: true`"
        )
    found = find_near_duplicates(images.images)
    largest = int(found.sizes.max(initial=1))
    if largest > max(LARGE * len(images), 10):
        log.warning(
            "protocol.grouped: a chain of near-duplicates connects %d of %d images, which stay in one fold: look at "
            "the pairs in the report", largest, len(images),
        )  # fmt: skip
    log.info("%d pairs of near-duplicates make %d groups of several images", len(found.pairs), len(found.sizes))
    return replace(images, groups=found.groups)


def copy_codes(images: np.ndarray) -> np.ndarray:
    """The first image that equals each pixel by pixel, int64 (N,): 0.5 s for 60,000 of 32 x 32 x 3.

    images: uint8 (N, H, W, C), also memory-mapped. A copy that was shifted, scaled or compressed anew has another code.
    """
    first: dict[bytes, int] = {}
    codes = np.empty(len(images), np.int64)
    for i, image in enumerate(images):
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        codes[i] = first.setdefault(digest, i)
    return codes


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Luma of images, uint8 (N, h, w): sides above SIDE are brought to it by averaging areas."""
    height, width = images.shape[1:3]
    rows, columns = _averaging(height), _averaging(width)
    small = np.empty((len(images), len(rows), len(columns)), np.uint8)
    step = rows_in_chunk(images.shape)
    for i in range(0, len(images), step):
        grey = to_grey(np.asarray(images[i : i + step]))[..., 0]
        as_is = grey.shape[1:] == small.shape[1:]
        small[i : i + step] = grey if as_is else np.rint(rows @ grey.astype(np.float32) @ columns.T)
    return small


def _averaging(size: int) -> np.ndarray:
    """(min(size, SIDE), size), float32: the share of each pixel in as many areas of equal length; rows sum to 1."""
    areas = min(size, SIDE)
    edges = np.arange(areas + 1) * size / areas
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, 1) * areas / size).astype(np.float32)


def perceptual_hashes(small: np.ndarray) -> np.ndarray:
    """pHash of grey images (N, h, w), uint64 (N,): Zauner, "Implementation and benchmarking of perceptual image hash
    functions" (2010), section 3.2.1.

    The 8 x 8 coefficients of the two-dimensional DCT-II that follow the first row and column, each a bit: above their
    median or not. The mean is not among them, so brightness changes no bit, nor does contrast. They are products with
    the first nine basis vectors a side: tests/data/test_near_duplicates.py, test_hash_is_scipys_dct.
    """
    rows, columns = _dct_basis(small.shape[1]), _dct_basis(small.shape[2])
    hashes = np.empty(len(small), np.uint64)
    step = rows_in_chunk((*small.shape, 4))  # of float32
    for i in range(0, len(small), step):
        low = (rows @ small[i : i + step].astype(np.float32) @ columns.T).reshape(-1, 64)
        bits = low > np.median(low, axis=1, keepdims=True)
        hashes[i : i + step] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def _dct_basis(size: int) -> np.ndarray:
    """cos(pi (2 x + 1) k / (2 size)) for k of 1 to 8, float32 (8, size)."""
    k, x = np.arange(1, 9)[:, None], np.arange(size)
    return np.cos(np.pi * (2 * x + 1) * k / (2 * size)).astype(np.float32)


def _near_pairs(small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of thumbnails, int64 (P, 2), and their correlation (P,)."""
    hashes = perceptual_hashes(small)
    flat = small.reshape(len(small), -1)
    pairs, correlations, count = [np.empty((0, 2), np.int64)], [np.empty(0)], 0
    for candidates in close_hashes(hashes, BITS):
        found = _correlation(flat, candidates)
        kept = found >= CORRELATION
        pairs.append(candidates[kept])
        correlations.append(found[kept])
        count += int(kept.sum())
        if count > MOST_PAIRS:
            log.warning("over %d pairs of near-duplicates: the images are alike as a whole; no more are sought", count)
            break
    return np.concatenate(pairs), np.concatenate(correlations)


def close_hashes(hashes: np.ndarray, bits: int):  # type: ignore[no-untyped-def]
    """Yield int64 arrays (n, 2) of pairs i < j whose hashes differ in at most `bits` bits, a block of rows each.

    Bands of bits (Norouzi, Punjani and Fleet 2012) would save little: with 8 of 64 bits free a band has 7, shared by
    hundreds of images, while a comparison takes under half a nanosecond.
    """
    rows = max(1, CANDIDATES // max(1, len(hashes)))
    room = np.empty((min(rows, len(hashes)) * len(hashes), 2), np.int32)
    for start in range(0, len(hashes), rows):
        count = _compare(hashes, start, min(start + rows, len(hashes)), np.uint64(bits), room)
        if count:
            yield room[:count].astype(np.int64)


@compiled
def _compare(hashes, start, end, bits, room):  # type: ignore[no-untyped-def]
    """Write the pairs of rows start to end into room; returns how many. Set bits are counted in parallel."""
    count = 0
    for i in range(start, end):
        for j in range(i + 1, len(hashes)):
            x = hashes[i] ^ hashes[j]
            x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
            x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            if (x * np.uint64(0x0101010101010101)) >> np.uint64(56) <= bits:
                room[count, 0] = i
                room[count, 1] = j
                count += 1
    return count


def _correlation(flat: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pearson's of the pixels of each pair, float64 (P,); 0 where a picture is flat. flat: uint8 (N, pixels)."""
    found = np.empty(len(pairs))
    step = rows_in_chunk((len(pairs), flat.shape[1], 8))  # two of float32
    for i in range(0, len(pairs), step):
        one, other = (flat[pairs[i : i + step, side]].astype(np.float32) for side in (0, 1))
        one -= one.mean(axis=1, keepdims=True)
        other -= other.mean(axis=1, keepdims=True)
        lengths = np.sqrt((one**2).sum(axis=1)), np.sqrt((other**2).sum(axis=1))
        has_picture = np.minimum(*lengths) > FLAT * flat.shape[1] ** 0.5
        product = (one * other).sum(axis=1)
        found[i : i + step] = np.where(
            has_picture, np.minimum(product / np.maximum(lengths[0] * lengths[1], 1.0), 1.0), 0.0
        )
    return found


def connected(images: int, pairs: np.ndarray) -> np.ndarray:
    """Connected components of pairs among so many images, int64 (images,), in the order of their first images."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    return connected_components(graph, directed=False)[1].astype(np.int64)
