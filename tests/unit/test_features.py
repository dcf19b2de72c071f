"""The table of features: each entry is complete, and the message about a mistake names the change and the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import pytest
import samovar.features
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from samovar.models import Document

from functions.worker.merge import MERGED_VALUES
from functions.worker.values import EXPECTED, FIND_MISFIT
from shared.jobs.features import FEATURE_NAMES, FEATURES, MEMBERS, Feature, FeatureName, Member, MergeRule

FILE = "shared/jobs/features.py"
SDK_FILE = "client/src/samovar/features.py"
SDK_MODELS = "client/src/samovar/models.py"
RULES: tuple[MergeRule, ...] = get_args(MergeRule)
RESERVED = {"id", "error"}  # members that every result document may have


def find_mistakes(names: Sequence[str], features: Sequence[Feature]) -> list[str]:
    """Return the mistakes in a table of features, each with the change that is needed."""
    described = {feature.name for feature in features}
    members = [member.name for feature in features for member in feature.members]
    return [
        *(f'Add a Feature for "{name}" to _FEATURES in {FILE}.' for name in names if name not in described),
        *(f'Add "{name}" to FeatureName in {FILE}.' for name in described if name not in names),
        *(mistake for feature in features for mistake in find_member_mistakes(feature)),
        *(f'Rename a member: two features in {FILE} declare "{name}".' for name in duplicates(members)),
    ]


def find_member_mistakes(feature: Feature) -> list[str]:
    mistakes = []
    if not feature.members:
        mistakes.append(f'Add a Member to the feature "{feature.name}" in {FILE}.')
    for member in feature.members:
        place = f'member "{member.name}" of the feature "{feature.name}" in {FILE}'
        if member.merge not in RULES:
            mistakes.append(f"Add a merge rule to the {place}: one of {', '.join(RULES)}.")
        if not has_json_schema(member.type):
            mistakes.append(f"Add a type that pydantic can describe to the {place}.")
        if member.name in RESERVED:
            mistakes.append(f"Rename the {place}: every result document may have a member of this name.")
    return mistakes


def has_json_schema(annotation: Any) -> bool:
    try:
        return bool(TypeAdapter(annotation).json_schema()) or annotation is Any
    except (PydanticSchemaGenerationError, PydanticUserError):
        return False


def duplicates(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def test_features_have_no_mistakes() -> None:
    mistakes = find_mistakes(FEATURE_NAMES, list(FEATURES.values()))
    assert not mistakes, "\n".join(mistakes)


@pytest.mark.parametrize("table", [FIND_MISFIT, EXPECTED, MERGED_VALUES])
def test_worker_implements_every_merge_rule(table: dict[str, Any]) -> None:
    missing = [rule for rule in RULES if rule not in table]
    assert not missing, (
        f"Add {', '.join(missing)} to FIND_MISFIT and EXPECTED in functions/worker/values.py, "
        "and to MERGED_VALUES in functions/worker/merge.py."
    )


def test_sdk_lists_the_features_of_the_service() -> None:
    assert samovar.features.FEATURES == FEATURE_NAMES, (
        f"Make Feature in {SDK_FILE} equal to FeatureName in {FILE}: {', '.join(FEATURE_NAMES)}."
    )


def test_sdk_document_declares_every_member() -> None:
    missing = [name for name in MEMBERS if name not in Document.model_fields]
    assert not missing, f"Add {', '.join(missing)} to Document in {SDK_MODELS}."


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_sdk_document_accepts_every_member(member: Member, data: st.DataObject) -> None:
    adapter = TypeAdapter[Any](member.type)
    value = adapter.dump_python(data.draw(st.from_type(member.type)))
    sent = {member.name: value}
    try:
        document = Document.model_validate(sent)
    except ValidationError as error:
        pytest.fail(f"Change {member.name} of Document in {SDK_MODELS}, so that it accepts its type in {FILE}: {error}")
    assert document.to_json() == sent, f"Change {member.name} of Document in {SDK_MODELS}, so that it keeps its value."


class NoSchema:
    """A type that pydantic cannot describe."""


ENTS = FEATURES["ents"]
PLACE = f'of the feature "ents" in {FILE}'


@pytest.mark.parametrize(
    ("members", "advice"),
    [
        (
            (Member("ents", list[int], cast("MergeRule", None)),),
            f'Add a merge rule to the member "ents" {PLACE}: one of text, spans, tokens, sum, value.',
        ),
        (
            (Member("ents", NoSchema, "value"),),
            f'Add a type that pydantic can describe to the member "ents" {PLACE}.',
        ),
        (
            (),
            f'Add a Member to the feature "ents" in {FILE}.',
        ),
        (
            (Member("id", str, "value"),),
            f'Rename the member "id" {PLACE}: every result document may have a member of this name.',
        ),
        (
            (ENTS.members[0], ENTS.members[0]),
            f'Rename a member: two features in {FILE} declare "ents".',
        ),
    ],
)
def test_message_about_a_mistake_says_what_to_change_where(members: tuple[Member, ...], advice: str) -> None:
    assert find_mistakes(["ents"], [replace(ENTS, members=members)]) == [advice]


def test_message_about_a_missing_feature_says_what_to_add_where() -> None:
    assert find_mistakes(["ents", "mood"], [ENTS]) == [f'Add a Feature for "mood" to _FEATURES in {FILE}.']
    mood = replace(ENTS, name=cast("FeatureName", "mood"), members=(Member("mood", str, "value"),))
    assert find_mistakes(["ents"], [ENTS, mood]) == [f'Add "mood" to FeatureName in {FILE}.']
