"""Merkle trees: the published vectors, and the laws every tree keeps."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.audit.merkle import inclusion_proof, leaf_hash, node_hash, proves_inclusion, tree_root

# Inputs and answers of the reference implementation's tests (certificate-transparency, merkle_tree_test).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {  # (leaf counted from 1, tree size): path
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (3, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (2, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def hashes(leaves: list[bytes]) -> bytes:
    """Leaf hashes one after the other, as the functions take them."""
    return b"".join(map(leaf_hash, leaves))


def root_by_definition(leaves: list[bytes]) -> bytes:
    """MTH(D[n]) as RFC 6962 writes it, with its recursive split."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(root_by_definition(leaves[:split]), root_by_definition(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert tree_root(hashes(LEAVES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size"), PATHS)
def test_paths_are_the_published_ones(leaf: int, size: int) -> None:
    assert [step.hex() for step in inclusion_proof(hashes(LEAVES[:size]), leaf - 1)] == PATHS[leaf, size]


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_root_follows_the_definition(leaves: list[bytes]) -> None:
    assert tree_root(hashes(leaves)) == root_by_definition(leaves)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_every_leaf_can_be_proven_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root = tree_root(hashes(leaves))
    path = inclusion_proof(hashes(leaves), index)
    assert proves_inclusion(leaf_hash(leaves[index]), index, len(leaves), path, root)
    assert not proves_inclusion(leaf_hash(leaves[index] + b"!"), index, len(leaves), path, root)
    assert not proves_inclusion(leaf_hash(leaves[index]), index, len(leaves), [*path, root], root)
    assert not proves_inclusion(leaf_hash(leaves[index]), len(leaves), len(leaves), path, root)


def test_a_leaf_outside_the_tree_is_an_error() -> None:
    with pytest.raises(IndexError, match="3 leaves has no leaf 3"):
        inclusion_proof(hashes(LEAVES[:3]), 3)
    with pytest.raises(ValueError, match="33 bytes"):
        tree_root(bytes(33))
