"""When two names can be one person's: word order, initials, nicknames, a slip of the fingers, another script.

A name is compared word by word; `normalise.name` is the quick key for names that differ in spelling alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from nicknames import name_triplets
from rapidfuzz.distance import OSA

from oms_core.identity import normalise

# Families with two signs; all others have one.
_COMPOUND = frozenset(
    re.split(
        " ",
        "欧阳 司马 诸葛 上官 东方 皇甫 尉迟 公孙 令狐 慕容 司徒 夏侯 端木 长孙 宇文 南宫 独孤 西门 轩辕 百里 东郭 钟离 闾丘 太史",
    )
)
# How Cantonese, Hokkien, Teochew and Hakka speakers write their families, and Taiwan its, against pinyin.
_FAMILIES: Mapping[str, frozenset[str]] = {
    spelling: frozenset(pinyin.split())
    for spelling, pinyin in {
        "chan": "chen", "tan": "chen", "tang": "deng tang", "lim": "lin", "lam": "lin", "wong": "wang huang", "ong": "wang",
        "heng": "wang", "ng": "huang wu", "ooi": "huang", "wee": "huang", "goh": "wu", "go": "wu", "kwok": "guo",
        "kuo": "guo", "quek": "guo", "kwek": "guo", "lee": "li", "lei": "li", "cheung": "zhang", "chang": "zhang",
        "teo": "zhang", "tiong": "zhang", "chong": "zhang zhuang", "teoh": "zhang", "chew": "zhou zhao", "chow": "zhou",
        "chou": "zhou", "chua": "cai", "tsai": "cai", "choi": "cai", "choy": "cai", "toh": "zhuo du", "lau": "liu",
        "liew": "liu", "low": "liu luo", "loh": "luo", "lo": "luo lu", "yeo": "yang", "yeung": "yang", "young": "yang",
        "chu": "zhu", "choo": "zhu", "tsui": "xu cui", "hsu": "xu", "koh": "xu gao", "kho": "xu", "ho": "he hou",
        "leung": "liang", "neo": "liang", "cheng": "zheng cheng", "tay": "zheng", "tse": "xie", "hsieh": "xie",
        "sia": "xie", "chia": "xie", "yip": "ye", "yap": "ye", "yeh": "ye", "fung": "feng", "foo": "fu hu",
        "poh": "fu", "lu": "lu lü", "ko": "gao", "kao": "gao", "sim": "shen", "shum": "shen", "seah": "xie",
        "tsang": "zeng", "chan-tzeng": "zeng", "tseng": "zeng", "kong": "jiang kong", "kang": "jiang", "chiang": "jiang",
        "hui": "xu", "yu": "yu", "yee": "yu", "mok": "mo", "pang": "peng", "phua": "pan", "poon": "pan", "pun": "pan",
        "siu": "xiao", "hsiao": "xiao", "sun": "sun", "suen": "sun", "soh": "su", "soo": "su", "so": "su",
    }.items()
}  # fmt: skip
# Short forms of other languages, as they are written to shops; one short form may stand for several names.
_SHORT_FORMS: Mapping[str, str] = {
    "kathi": "katharina", "katja": "katharina", "kati": "katharina", "max": "maximilian", "hannes": "johannes",
    "hans": "johannes", "jo": "johannes josef", "sepp": "josef", "fritz": "friedrich", "heinz": "heinrich",
    "steffi": "stefanie", "susi": "susanne", "uli": "ulrich ulrike", "toni": "anton antonia", "andi": "andreas",
    "michi": "michael michaela", "flo": "florian", "basti": "sebastian", "alex": "alexander alexandra",
    "lotte": "charlotte", "lena": "helena magdalena", "gabi": "gabriele", "betti": "elisabeth", "lisa": "elisabeth",
    "manu": "manuel emmanuel manuela", "nico": "nicolas", "fred": "frederic", "cathy": "catherine", "pepe": "jose",
    "paco": "francisco", "pancho": "francisco", "lupe": "guadalupe", "nacho": "ignacio", "chema": "jose",
    "lola": "dolores", "concha": "concepcion", "kike": "enrique", "quique": "enrique", "beto": "alberto roberto",
    "memo": "guillermo", "charlie": "charlotte charles", "gigi": "luigi luigia", "beppe": "giuseppe", "pino": "giuseppe", "sandro": "alessandro",
}  # fmt: skip


@lru_cache(maxsize=1 << 18)
def words(value: str | None) -> tuple[str, ...]:
    """The words of a person's name in bare Latin letters; of a name in Chinese signs the family's and the given one."""
    text = normalise.plain(value)
    if text is None:
        return ()
    if normalise.is_han(text):
        # 陈静, but also 静 陈 as forms with two fields put it together.
        parts = text.replace(",", " ").replace("·", " ").split()
        if len(parts) == 1 and len(text) > 1:
            family = 2 if normalise.simplified(text[:2]) in _COMPOUND and len(text) > 2 else 1
            parts = [text[:family], text[family:]]
        return tuple("".join(normalise.name_words(part)) for part in parts)
    return normalise.name_words(value)


@lru_cache(maxsize=1 << 18)
def compatible(left: str, right: str) -> bool:
    """Whether two names as written can be one person's.

    They can where one word (of two letters at least) is the same in both and the others are the same, an initial, a
    nickname, a second name left out, or a family's name with one slip of the fingers: a slip in a given name cannot be
    told from a sister's. That a name can be another's proves nothing by itself.
    """
    if normalise.name(left) == normalise.name(right):
        return normalise.name(left) is not None
    one, other = list(words(left)), list(words(right))
    if normalise.is_firm(left) or normalise.is_firm(right):
        return _one_firm(one, other)
    shared = [word for word in one if len(word) > 1 and word in other]
    for word in shared:
        if word in one and word in other:
            one.remove(word)
            other.remove(word)
    if shared:
        return _rest_alike(one, other, shared)
    return any(
        _one_family(word, counterpart)
        and _rest_alike(one[:position] + one[position + 1 :], other[:place] + other[place + 1 :], [word])
        for position, word in enumerate(one)
        for place, counterpart in enumerate(other)
    )


def _one_firm(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two firms' names are one with a slip of the fingers; a word more is another branch or another firm."""
    one, other = "".join(sorted(left)), "".join(sorted(right))
    return min(len(one), len(other)) >= 8 and bool(OSA.distance(one, other, score_cutoff=1) <= 1)


def _one_family(left: str, right: str) -> bool:
    """Whether two spellings are of one Chinese family; one of them must be in pinyin."""
    return right in _FAMILIES.get(left, ()) or left in _FAMILIES.get(right, ())


def _rest_alike(left: Sequence[str], right: Sequence[str], shared: Sequence[str]) -> bool:
    """Whether what two names do not share can be one; `shared` words are the same already."""
    if not left or not right:  # a second name left out; a family's name alone names nobody
        return len(shared) > 1 or left == right
    one, other = "".join(left), "".join(right)
    if one in (other, "".join(reversed(right))):
        return True
    short, long = sorted((tuple(left), tuple(right)), key=lambda found: (len(found), len("".join(found))))
    if all(len(word) == 1 for word in short):  # initials
        return all(initial == word[0] for initial, word in zip(short, long, strict=False))
    if len(left) == len(right) == 1:
        if _one_nickname(one, other) or _one_family(one, other):
            return True
        given = _given_names()
        # One of two given names that are both known is a sister's; one that nobody bears, a letter short or double, is not.
        left_out = len(given & {one, other}) == 1 and abs(len(one) - len(other)) == 1
        family = not given.isdisjoint(shared) and given.isdisjoint((one, other))
        return (left_out or family) and _one_slip(one, other)
    return False


@lru_cache(maxsize=1)
def _full_forms() -> Mapping[str, frozenset[str]]:
    """Short form -> given names it stands for, all in the spelling that `words` gives them."""
    found: dict[str, set[str]] = {}
    pairs = [(short, full) for short, named in _SHORT_FORMS.items() for full in named.split()]
    pairs += [(row.name2, row.name1) for row in name_triplets() if row.relationship == "has_nickname"]
    for short, full in pairs:
        found.setdefault("".join(words(short)), set()).add("".join(words(full)))
    return {short: frozenset(named) for short, named in found.items()}


@lru_cache(maxsize=1)
def _given_names() -> frozenset[str]:
    """Given names and short forms that are known, as `words` spells them."""
    forms = _full_forms()
    return frozenset(forms) | frozenset(full for named in forms.values() for full in named)


def full_forms(given: str) -> frozenset[str]:
    """Given names that a word can be short for, itself among them; all as `words` spells them."""
    return _full_forms().get(given, frozenset()) | {given}


def _one_nickname(left: str, right: str) -> bool:
    return right in full_forms(left) or left in full_forms(right)


def _one_slip(left: str, right: str) -> bool:
    """One letter swapped, dropped, doubled or hit beside, in a word long enough for that to be unlikely otherwise."""
    if min(len(left), len(right)) < 4 or max(len(left), len(right)) < 5:
        return False
    return bool(OSA.distance(left, right, score_cutoff=1) <= 1)


@lru_cache(maxsize=1 << 16)
def strangers(left: str, right: str) -> bool:
    """Whether two names are plainly two people's: both whole, in one script, and further apart than two slips."""
    if normalise.is_han(left) != normalise.is_han(right) or compatible(left, right):
        return False
    one, other = words(left), words(right)
    if any(sum(len(word) > 1 for word in found) < 2 for found in (one, other)):
        return False  # initials, or one word: it may stand for anybody
    return bool(OSA.distance("".join(sorted(one)), "".join(sorted(other)), score_cutoff=2) > 2)


def lead_into_each_other(names: Iterable[str]) -> bool:
    """Whether names found at one mailbox can be one person's: no two are strangers, or steps between whole names join them.

    Mie and Michael are strangers until Mike stands between them; J. Chen is no step from John to Jane.
    """
    found = sorted(set(names))
    if not any(strangers(one, other) for one, other in combinations(found, 2)):
        return True
    whole = [name for name in found if not is_short(name)]
    reached, waiting = {whole[0]}, [whole[0]]
    while waiting:
        at = waiting.pop()
        for name in whole:
            is_step = normalise.is_han(at) == normalise.is_han(name) and not strangers(at, name)
            if name not in reached and (is_step or compatible(at, name)):
                reached.add(name)
                waiting.append(name)
    return len(reached) == len(whole)


def is_short(name: str) -> bool:
    """Whether a name is a family's with initials, or a single word: several people have it as it stands."""
    return sum(len(word) > 1 for word in words(name)) < 2


def unambiguous(
    names: Iterable[str], is_one: Callable[[str, str], bool] = lambda one, other: False
) -> tuple[list[tuple[str, str]], set[str]]:
    """Names found at one address, phone or order: which pairs can be one person's, and which names are in doubt.

    A name that could be two people's, such as J. Chen where John and Jane Chen live, is in doubt and in no pair. Where
    J. Chen is known to be Jane, it is in no pair with John.

    Args:
        names: names as written; at most a few dozen.
        is_one: whether two of them are known to be one person's, as Charlie and Charlotte of one mailbox are.
    """
    found = sorted(set(names))

    def is_anothers(short: str, name: str) -> bool:
        known = (other for other in found if other not in (short, name) and is_one(short, other))
        return is_short(short) and any(not compatible(other, name) for other in known)

    pairs = [
        (left, right)
        for left, right in combinations(found, 2)
        if compatible(left, right) and not is_anothers(left, right) and not is_anothers(right, left)
    ]
    near: dict[str, set[str]] = {name: set() for name in found}
    for left, right in pairs:
        near[left].add(right)
        near[right].add(left)
    doubtful = {
        name
        for name, others in near.items()
        if any(
            not compatible(one, other) and not is_one(one, other)
            for one, other in combinations(sorted(o for o in others if not is_one(name, o)), 2)
        )
    }
    return [
        (left, right) for left, right in pairs if left not in doubtful and right not in doubtful
    ], doubtful
