"""Merkle trees of RFC 6962: the root of many hashes, and proofs that one hash is among them.

A leaf's hash is SHA-256 of 0x00 and the data, a node's is SHA-256 of 0x01 and its two children. A tree of n
leaves splits at the largest power of two below n, which is the same as pairing level by level and carrying an
odd last one up.

Source: RFC 6962, section 2.1 (unchanged in RFC 9162).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf: 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node over its children's hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(leaf_hashes: bytes) -> bytes:
    """Root of a tree.

    Args:
        leaf_hashes: (32 n) bytes, the n leaf hashes one after the other.

    Returns:
        32 bytes; SHA-256 of nothing for the empty tree.

    Raises:
        ValueError: the length is not a multiple of 32.
    """
    level = _checked(leaf_hashes)
    while len(level) > HASH_BYTES:
        level = _level_above(level)
    return level or hashlib.sha256(b"").digest()


def inclusion_proof(leaf_hashes: bytes, index: int) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root, from the bottom up.

    Args:
        leaf_hashes: (32 n) bytes, the n leaf hashes one after the other.
        index: 0 … n-1.

    Raises:
        IndexError: there is no such leaf.
    """
    level = _checked(leaf_hashes)
    if not 0 <= index < len(level) // HASH_BYTES:
        raise IndexError(f"a tree of {len(level) // HASH_BYTES} leaves has no leaf {index}")
    path = []
    while len(level) > HASH_BYTES:
        beside = (index ^ 1) * HASH_BYTES
        if beside < len(level):
            path.append(level[beside : beside + HASH_BYTES])
        level = _level_above(level)
        index //= 2
    return path


def proves_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` shows that `leaf` (a hash) stands at `index` in the tree of `size` leaves with this root.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    last = size - 1
    found = leaf
    for beside in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            found = node_hash(beside, found)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            found = node_hash(found, beside)
        index >>= 1
        last >>= 1
    return last == 0 and found == root


def proves_growth(before: int, size: int, path: Sequence[bytes], root_before: bytes, root: bytes) -> bool:
    """Whether `path` shows that the tree of `size` leaves begins with the tree of `before` leaves.

    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 < before <= size:
        return False
    if before == size:
        return not path and root_before == root
    steps = list(path)
    if before & (before - 1) == 0:
        steps.insert(0, root_before)
    if not steps:
        return False
    first, last = before - 1, size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    old = new = steps[0]
    for beside in steps[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new = node_hash(new, beside)
        first >>= 1
        last >>= 1
    return last == 0 and old == root_before and new == root


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges of leaves [start, end) whose trees make up the inclusion proof of a leaf, from the bottom up."""
    ranges = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return ranges[::-1]


def consistency_ranges(before: int, size: int) -> list[tuple[int, int]]:
    """The ranges of leaves [start, end) whose trees prove that a tree grew out of its first `before` leaves."""
    ranges = []
    start, end, is_whole = 0, size, True
    while before != end:
        split = start + _split(end - start)
        if before <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start, is_whole = split, False
    if not is_whole:
        ranges.append((start, end))
    return ranges[::-1]


def cover(start: int, end: int) -> list[tuple[int, int]]:
    """A range of leaves as whole subtrees, from the left: (level, position) spans leaves [position << level, …).

    `start` is where an RFC 6962 subtree may begin, so the subtrees only become smaller.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def joined(hashes: Sequence[bytes]) -> bytes:
    """Root over whole subtrees of falling size, as `cover` gives them; SHA-256 of nothing for none."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _checked(leaf_hashes: bytes) -> bytes:
    if len(leaf_hashes) % HASH_BYTES:
        raise ValueError(f"{len(leaf_hashes)} bytes are not a whole number of {HASH_BYTES}-byte hashes")
    return bytes(leaf_hashes)


def _level_above(level: bytes) -> bytes:
    sha256 = hashlib.sha256
    pair = 2 * HASH_BYTES
    whole = len(level) // pair * pair
    nodes = [sha256(b"\x01" + level[at : at + pair]).digest() for at in range(0, whole, pair)]
    nodes.append(level[whole:])
    return b"".join(nodes)
