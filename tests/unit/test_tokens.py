"""Tokens that only the tenant can use that they were given to."""

from __future__ import annotations

import base64
from itertools import count, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build

from postwire.api import listing
from postwire.api.sealed_tokens import SealedTokens
from postwire.api.tokens import PlainTokens, TenantTokens, about
from postwire.core.audit import AuditFilter
from postwire.core.errors import InvalidPage
from postwire.core.listing import MessageFilter, ResumePoint, page_token, resume_token
from postwire.core.message import Channel
from postwire.v1 import dispatch_service_pb2 as pb

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
A, B = "acme", "other"
SMS = MessageFilter(channels=frozenset({Channel.SMS}))
ID, OTHER_ID = build.new_id(), build.new_id()
NOT_OURS = "must be a token that an earlier call with the same messages or filter gave, or left out"


def opened(tokens: SealedTokens, token: str, bound_to: bytes) -> str | None:
    try:
        return tokens.unwrap(token, bound_to)
    except ValueError as error:
        text = str(error)
    assert text == NOT_OURS
    return None


BOUND = {
    "page of a": listing.page_bound_to(MessageFilter(), A),
    "page of b": listing.page_bound_to(MessageFilter(), B),
    "page of a, filtered": listing.page_bound_to(SMS, A),
    "watch of a": listing.watch_bound_to([], MessageFilter(), A),
    "watch of a, filtered": listing.watch_bound_to([], SMS, A),
    "watch of a, by id": listing.watch_bound_to([ID], MessageFilter(), A),
    "watch of a, by another id": listing.watch_bound_to([OTHER_ID], MessageFilter(), A),
    "watch of b, by id": listing.watch_bound_to([ID], MessageFilter(), B),
    "events of a": listing.events_bound_to(AuditFilter(), A),
    "events of b": listing.events_bound_to(AuditFilter(), B),
    "events of a, filtered": listing.events_bound_to(AuditFilter(tenant=B), A),
}


def test_a_token_opens_for_what_it_was_made_for_and_nothing_else() -> None:
    tokens = SealedTokens(KEY)
    for name, bound_to in BOUND.items():
        token = tokens.wrap("it", bound_to)
        assert [other for other in BOUND if opened(tokens, token, BOUND[other])] == [name]


def test_another_start_of_the_same_store_opens_it_and_another_store_does_not() -> None:
    token = SealedTokens(KEY).wrap("it", BOUND["page of a"])
    assert opened(SealedTokens(KEY), token, BOUND["page of a"]) == "it"
    assert opened(SealedTokens(OTHER_KEY), token, BOUND["page of a"]) is None


def test_no_two_are_the_same_and_none_shows_what_it_says() -> None:
    tokens = SealedTokens(KEY)
    made = [tokens.wrap("it" * 20, BOUND["page of a"]) for _ in range(100)]
    nonces = {base64.urlsafe_b64decode(one)[17:29] for one in made}
    assert len(set(made)) == len(nonces) == 100
    assert not any(b"itit" in base64.urlsafe_b64decode(one) for one in made)
    salts = {base64.urlsafe_b64decode(SealedTokens(KEY).wrap("it", b""))[1:17] for _ in range(10)}
    assert len(salts) == 10, "else two starts would use the same nonces with the same key"


@given(st.data())
def test_what_was_changed_does_not_open(data: st.DataObject) -> None:
    tokens = SealedTokens(KEY)
    bound_to = BOUND["page of a"]
    raw = bytearray(base64.urlsafe_b64decode(tokens.wrap("it", bound_to)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert opened(tokens, base64.urlsafe_b64encode(raw).decode(), bound_to) is None
    assert opened(tokens, base64.urlsafe_b64encode(raw[:at]).decode(), bound_to) is None


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_whatever_is_no_token_is_refused(text: str) -> None:
    assert opened(SealedTokens(KEY), text, BOUND["page of a"]) is None
    assert opened(SealedTokens(KEY), "A" * 100_000, BOUND["page of a"]) is None


@given(
    st.lists(st.tuples(st.text("ab\0", max_size=3), st.text("ab-", max_size=3)), min_size=2, max_size=2, unique=True)
)
def test_what_it_is_bound_to_is_told_apart(pairs: list[tuple[str, str]]) -> None:
    hashes = bytes(32)
    one, other = (about(kind.replace("\0", ""), tenant, hashes) for kind, tenant in pairs)
    same = [(kind.replace("\0", ""), tenant) for kind, tenant in pairs]
    assert (one == other) is (same[0] == same[1])


def test_a_page_goes_on_for_its_own_tenant_alone() -> None:
    tokens = SealedTokens(KEY)
    sealed = tokens.wrap(page_token(ID, MessageFilter()), BOUND["page of a"])
    request = pb.ListMessagesRequest(page_token=sealed)
    assert listing.page_from(request, tokens, A) == (MessageFilter(), 50, ID)
    for refused, tenant in ((request, B), (pb.ListMessagesRequest(page_token=page_token(ID, MessageFilter())), A)):
        with pytest.raises(InvalidPage, match="page_token") as error:
            listing.page_from(refused, tokens, tenant)
        (violation,) = error.value.violations
        assert (violation.field, violation.description) == ("page_token", NOT_OURS)
    with pytest.raises(InvalidPage):
        listing.page_from(request, PlainTokens(), A)


def test_a_watch_goes_on_for_its_own_tenant_alone() -> None:
    tokens = SealedTokens(KEY)
    point = ResumePoint("0" * 32, (7,))
    sealed = tokens.wrap(resume_token(point), BOUND["watch of a, by id"])
    request = pb.WatchMessagesRequest(message_ids=[ID], resume_token=sealed)
    assert listing.watch_from(request, tokens, A) == ([ID], MessageFilter(), point)
    others = pb.WatchMessagesRequest(message_ids=[OTHER_ID], resume_token=sealed)
    for refused, tenant in ((request, B), (others, A), (pb.WatchMessagesRequest(resume_token=sealed), A)):
        with pytest.raises(InvalidPage, match="resume_token"):
            listing.watch_from(refused, tokens, tenant)


def test_a_token_of_a_page_is_none_of_a_watch() -> None:
    tokens = SealedTokens(KEY)
    for made, used in permutations(("page of a", "watch of a", "events of a"), 2):
        assert opened(tokens, tokens.wrap("it", BOUND[made]), BOUND[used]) is None


def test_the_salt_is_random() -> None:
    asked = count()
    SealedTokens(KEY, lambda size: bytes([next(asked)]) * size)
    assert next(asked) == 1


def test_tokens_are_sealed_from_the_first_tenant_on() -> None:
    tenants: list[str] = []
    tokens, bound_to = TenantTokens(KEY, lambda: bool(tenants)), BOUND["page of a"]
    plain = tokens.wrap("it", bound_to)
    assert (plain, tokens.unwrap(plain, bound_to)) == ("it", "it")
    tenants.append(A)
    sealed = tokens.wrap("it", bound_to)
    assert SealedTokens(KEY).unwrap(sealed, bound_to) == tokens.unwrap(sealed, bound_to) == "it"
    with pytest.raises(ValueError, match=NOT_OURS):
        tokens.unwrap(plain, bound_to)
