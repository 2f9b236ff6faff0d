"""What an email address is, beyond ASCII above all, and when two domains are the same."""

from __future__ import annotations

import string
import unicodedata

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.examples import examples

from postwire.core.addresses import domain_to_ascii, is_address

UNSEEN = "\u200b\u200c\u200d\u200e\u202e\u2060\u2066\ufeff\xad\x80\x9f\u061c\U000e0041"
NOT_A_DOMAIN = "^not a domain$"  # and nothing of what it is instead


def is_domain(text: str) -> bool:
    try:
        domain_to_ascii(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "address",
    [
        "अजय@डाटा.भारत",  # Devanagari: marks that stand alone
        "தமிழ்@சிங்கப்பூர்.சிங்கப்பூர்",  # Tamil: a virama at the end
        "বাংলা@উদাহরণ.বাংলা",  # Bengali
        "ไทย@ตัวอย่าง.ไทย",  # Thai
        "مثال@مثال.إختبار",  # Arabic, from right to left
        "user@דוגמה.ישראל",
        "用户@例子.公司",
        "Ada@BÜCHER.Example",
        unicodedata.normalize("NFD", "ada@bücher.example"),
        "ada@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com",  # Persian: ZWNJ between letters that would be joined
        "ada@ශ්\u200dරී.com",  # Sinhala: ZWJ behind a virama
        "ada@r3---sn.example",
        "ada@XN--BCHER-KVA.example",
        "ada@ΑΒΓ.example",
        "\U0001f600@example.com",
    ],
)
def test_addresses_of_many_scripts(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *(f"a{unseen}da@example.com" for unseen in UNSEEN),
        *(f"ada@exa{unseen}mple.com" for unseen in UNSEEN),
        "ada@\u0308bc.example",  # a mark with nothing before it
        "ada@exam_ple.com",
        "ada@b\u00fc_cher.example",
        "ada@b\u00fc--cher..example",
        *(f"ada@b\u00fccher{dot}example" for dot in "\u3002\uff0e\uff61"),
        "ada@b\u00fccher.example.",
        "ada@-b\u00fccher.example",
        "ada@\u2764.example",  # IDNA 2003 had it
        "ada@\U0001f600.example",
        "ada@\u05d0a\u0301-.example",
        "ada@a\u05d0.example",  # both directions in a label
        "ada@xn--.example",
        "ada@xn--a.example",  # decodes to nothing
        "ada@xn--abc-.example",  # would be abc
        "ada@xn--ls8h.example",  # an emoji
        "ada@xn--bcher-kva" + "a" * 60 + ".example",
        "ada@" + "\u00fc" * 60 + ".example",  # over 63 octets as an A-label
        "ada@" + "a" * 64 + ".b\u00fccher",
    ],
)
def test_what_is_no_address(address: str) -> None:
    assert not is_address(address)


@pytest.mark.parametrize(
    "domain",
    [
        ".".join(["e" * 63, "e" * 63, "e" * 62]),
        ".".join(["e" * 63, "e" * 63, "\u0e01" * 21]),  # longer in UTF-8 than as an A-label
        ".".join(["\u00fc1"] * 20),  # longer as A-labels
    ],
)
def test_an_address_has_at_most_254_octets_however_its_domain_is_written(domain: str) -> None:
    longest = max(len(domain.encode()), len(domain_to_ascii(domain)))
    for filler in ("a", "\u00e9"):
        room = 254 - longest - 1 - len(filler.encode())
        assert 0 < room < 64
        assert is_address(f"{filler}{'a' * room}@{domain}")
        assert not is_address(f"{filler}{'a' * (room + 1)}@{domain}")


@pytest.mark.parametrize("domain", ["example.com", "b\u00fccher.example"])
@pytest.mark.parametrize("letter", ["a", "\u00e9"])
def test_a_local_part_has_at_most_64_octets(domain: str, letter: str) -> None:
    most = 64 // len(letter.encode())
    assert is_address(f"{letter * most}@{domain}")
    assert not is_address(f"{letter * most}a@{domain}")
    assert not is_address(f"@{domain}")


def test_a_domain_has_at_most_253_octets() -> None:
    labels = ".".join(["e" * 63] * 3)
    assert domain_to_ascii(f"{labels}.{'e' * 61}") == f"{labels}.{'e' * 61}"
    assert not is_domain(f"{labels}.{'e' * 62}")
    # What counts is its A-labels: b\u00fccher is xn--bcher-kva.
    assert is_domain(f"{labels}.{'e' * 47}.b\u00fccher")
    assert not is_domain(f"{labels}.{'e' * 48}.b\u00fccher")


@pytest.mark.parametrize(
    ("domain", "ascii_form"),
    [
        ("Example.COM", "example.com"),
        ("r3---SN.example", "r3---sn.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.Example", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),  # of its own in IDNA 2008, and not strasse.example
        ("\u4f8b\u5b50.\u516c\u53f8", "xn--fsqu00a.xn--55qx5d"),
    ],
)
def test_the_form_in_ascii(domain: str, ascii_form: str) -> None:
    assert domain_to_ascii(domain) == ascii_form
    assert domain_to_ascii(ascii_form) == ascii_form


@pytest.mark.parametrize(
    "domain", ["", ".", "a..b", "a.", "b\u00fc.", ".b\u00fc", "a" * 254, "\u00fc." * 127 + "a", "a b"]
)
def test_what_is_no_domain_is_refused_and_not_repeated(domain: str) -> None:
    with pytest.raises(ValueError, match=NOT_A_DOMAIN):
        domain_to_ascii(domain)


# Characters that bring trouble, among all others: letters of many scripts and what goes with them.
CHARACTERS = st.one_of(
    st.sampled_from(string.ascii_letters + string.digits + "-._"),
    st.sampled_from(
        "\u00fc\u00df\u0130\u03a3\u03c2\u0308\u0301\u0915\u094d\u093f\u0bcd\u200c\u200d\u0627\u064a\u05d0\u0661\u06f1"
    ),
    st.sampled_from("\u200b\u200e\u202e\u2060\ufeff\xad\x85\u3002\uff0e\u212a\u00b7\u30fb\u30a2\u2028"),
    st.characters(exclude_categories=["Cs"]),
)
LABELS = st.text(CHARACTERS, min_size=1, max_size=12)
DOMAINS = st.lists(
    st.one_of(
        LABELS,
        LABELS.map(lambda label: "xn--" + label.encode("punycode").decode("ascii")),
        st.sampled_from(["xn--bcher-kva", "xn--fsq", "XN--FSQ", "example", "a" * 63]),
    ),
    min_size=1,
    max_size=5,
).map(".".join)
LOCAL_PARTS = st.text(CHARACTERS | st.sampled_from("!#+'"), max_size=70)


@examples(500)
@given(DOMAINS)
@example("xn--a.xn--fsq")
@example("\u0915\u094d\u200d\u0937.x")
def test_a_domain_is_ldh_or_what_idna_takes(domain: str) -> None:
    """The model: each label by itself for ASCII without xn--, and `idna` by its own strict rules for all else."""
    labels = domain.split(".")
    expected: str | None
    if domain.isascii() and not any(label.lower().startswith("xn--") for label in labels):
        letters = frozenset(string.ascii_letters + string.digits)
        good = all(
            0 < len(one) <= 63 and one[0] in letters and one[-1] in letters and letters | {"-"} >= set(one)
            for one in labels
        )
        expected = domain.lower() if good and len(domain) <= 253 else None
    else:
        try:
            expected = idna.encode(unicodedata.normalize("NFC", domain.lower()), strict=True).decode()
        except idna.IDNAError:
            expected = None
        if domain.endswith(".") or len(domain) > 253:
            expected = None
    if expected is None:
        assert not is_domain(domain)
    else:
        assert domain_to_ascii(domain) == expected


@examples(500)
@given(LOCAL_PARTS, DOMAINS)
@example("ada", "\u0634\u200c\u0634.example")
def test_what_is_taken_as_an_address(local_part: str, domain: str) -> None:
    address = f"{local_part}@{domain}"
    if not is_address(address):
        return
    in_ascii = domain_to_ascii(domain)
    assert address.count("@") == 1
    assert len(address.encode()) <= 254
    assert len(f"{local_part}@{in_ascii}".encode()) <= 254
    assert 1 <= len(local_part.encode()) <= 64
    unseen = [one for one in address if unicodedata.category(one) in ("Cc", "Cf")]
    assert set(unseen) <= {"\u200c", "\u200d"}
    assert len(unseen) == len([one for one in domain if one in "\u200c\u200d"])
    assert not any(one.isspace() or one in '<>()[],;:\\"' for one in address)
    assert in_ascii.isascii()
    assert in_ascii == in_ascii.lower()
    assert all(1 <= len(label) <= 63 for label in in_ascii.split("."))
    for written in (in_ascii, in_ascii.upper(), unicodedata.normalize("NFD", domain)):
        if len(written) <= 253:
            assert domain_to_ascii(written) == in_ascii


@examples(300)
@given(LOCAL_PARTS, st.sampled_from(["example.com", "b\u00fccher.example"]))
def test_a_local_part_is_taken_whatever_the_domain(local_part: str, domain: str) -> None:
    """The quick way for ASCII and the other one have the same rule."""
    expected = (
        all(local_part.split("."))
        and len(local_part.encode()) <= 64
        and not any(one.isspace() or one in '@<>()[],;:\\"' for one in local_part)
        and not any(unicodedata.category(one) in ("Cc", "Cf") for one in local_part)
    )
    assert is_address(f"{local_part}@{domain}") is expected
