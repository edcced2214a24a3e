from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from speakerd_server.calls.models import LoadedModel, Models, VersionPolicy
from speakerd_server.errors import ModelIsDefault, ModelUnknown
from speakerd_server.models.choice import natural_order
from support.bundles import loaded

VERSIONS = ("1", "2", "9", "10", "10-b")


def models_of(
    *references: str, policy: VersionPolicy = VersionPolicy.FIRST
) -> tuple[Models, dict[str, LoadedModel]]:
    models = Models(policy)
    entries = {reference: loaded(*reference.split("/")) for reference in references}
    for entry in entries.values():
        models.add(entry)
    return models, entries


def test_the_first_model_is_that_of_calls_that_name_none() -> None:
    models, entries = models_of("a/1", "b/1", "a/2")
    assert models.default is models.named("") is models.named("a") is entries["a/1"]
    assert models.named("a/2") is models.find("a/2") is entries["a/2"]
    assert models.named("b") is entries["b/1"]
    assert list(models) == list(entries.values())


@pytest.mark.parametrize("name", ["nosuch", "a/3", "a/", "/1", "a/1/", "A", " a", "b/1"])
def test_a_name_of_no_loaded_model_is_unknown_and_the_error_says_what_is_there(name: str) -> None:
    models, _ = models_of("a/2", "a/1")
    with pytest.raises(ModelUnknown, match="there is a/1, a/2") as unknown:
        models.named(name)
    assert unknown.value.name == name
    assert models.find(name) is None


def test_a_bare_name_means_the_version_loaded_first_until_another_is_the_default() -> None:
    models, entries = models_of("a/2", "a/1", "a/10")
    assert models.named("a") is entries["a/2"]
    models.make_default(entries["a/1"])
    assert models.named("a") is models.default is entries["a/1"]
    assert [models.answers_to_name(one) for one in entries.values()] == [False, True, False]


def test_by_the_other_policy_it_means_the_newest_in_the_order_that_people_count() -> None:
    models, entries = models_of("a/9", "a/10", "a/1", policy=VersionPolicy.NEWEST)
    assert models.named("a") is models.default is entries["a/10"]


def test_a_model_loaded_as_default_is_that_of_calls_that_name_none() -> None:
    models, _ = models_of("a/1", "b/1")
    other = loaded("b", "2")
    models.add(other, make_default=True)
    assert models.default is models.named("b") is other
    assert models.remove("a").reference == "a/1"


def test_the_only_version_of_the_default_model_is_never_unloaded() -> None:
    models, _ = models_of("a/1", "b/1")
    for name in ("", "a", "a/1"):
        with pytest.raises(ModelIsDefault, match="make_default") as refused:
            models.remove(name)
        assert refused.value.name == "a/1"
    assert models.named("").users == 0
    assert not models.leaving


def test_when_the_version_a_name_means_is_unloaded_the_policy_says_which_is_next() -> None:
    first, entries = models_of("a/2", "a/1", "a/10")
    assert first.remove("a") is entries["a/2"]
    assert first.named("a") is first.default is entries["a/1"]
    newest, entries = models_of("a/2", "a/10", "a/9", policy=VersionPolicy.NEWEST)
    assert newest.remove("a/10") is entries["a/10"]
    assert newest.named("a") is newest.default is entries["a/9"]


def test_a_call_keeps_its_model_though_it_is_unloaded_and_loaded_again() -> None:
    models, entries = models_of("a/1", "b/1")
    with models.held("b") as held, models.held("b/1") as again:
        assert held is again is entries["b/1"]
        assert held.users == 2
        models.remove("b")
        assert (held.leaving, held.unused.is_set()) == (True, False)
        assert models.leaving == [held]
        with pytest.raises(ModelUnknown), models.held("b"):
            pass
        models.add(loaded("b", "1"))
        assert models.named("b") is not held
        assert held.users == 2
    assert held.users == 0
    assert held.unused.is_set()


def test_a_model_that_nobody_holds_is_unused_at_once() -> None:
    models, _ = models_of("a/1", "b/1")
    assert models.remove("b").unused.is_set()


def test_a_call_that_fails_lets_its_model_go() -> None:
    models, entries = models_of("a/1", "b/1")

    def call() -> None:
        with models.held("b"):
            models.remove("b")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        call()
    assert entries["b/1"].unused.is_set()


def test_another_process_takes_over_which_names_mean_what() -> None:
    ours, _ = models_of("a/2", "a/1", "b/1")
    ours.make_default(ours.named("a/1"))
    theirs, entries = models_of("b/1", "a/1", "a/2")
    theirs.prefer(*ours.preferences)
    assert theirs.default is theirs.named("a") is entries["a/1"]
    before = ours.preferences
    ours.remove("b")
    assert before[1] == {"a": "a/1", "b": "b/1"}


class Loads(RuleBasedStateMachine):
    """Any order of loads, unloads and changes of the default."""

    policy = VersionPolicy.FIRST

    def __init__(self) -> None:
        super().__init__()
        self.models = Models(self.policy)
        self.there: list[LoadedModel] = []

    def next_of(self, versions: list[LoadedModel]) -> LoadedModel:
        if self.policy is VersionPolicy.NEWEST:
            return max(versions, key=lambda one: natural_order(one.card.identity.version))
        return min(versions, key=self.there.index)

    @rule(name=st.sampled_from("ab"), version=st.sampled_from(VERSIONS), default=st.booleans())
    def load(self, name: str, version: str, default: bool) -> None:
        if self.models.find(f"{name}/{version}") is None:
            model = loaded(name, version)
            self.models.add(model, make_default=default)
            self.there.append(model)
            assert self.models.default is model or not default

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def choose(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(self.there))
        self.models.make_default(model)
        assert self.models.default is model

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def unload(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(self.there))
        name = model.card.identity.name
        others = [one for one in self.there if one.card.identity.name == name and one is not model]
        meant, default = self.models.named(name), self.models.default
        if not others and default is model:
            with pytest.raises(ModelIsDefault):
                self.models.remove(model.reference)
            return
        self.models.remove(model.reference)
        if meant is not model:
            assert self.models.named(name) is meant
        elif others:
            assert self.models.named(name) is self.next_of(others)
        self.there.remove(model)

    @invariant()
    def every_name_means_a_loaded_model(self) -> None:
        assert list(self.models) == self.there
        for model in self.there:
            name = model.card.identity.name
            assert self.models.named(model.reference) is model
            assert self.models.named(name) in self.there
            assert self.models.answers_to_name(model) == (self.models.named(name) is model)
        if self.there:
            assert self.models.default in self.there
        assert not {one.card.identity.name for one in self.there} ^ set(self.models.preferences[1])


class LoadsByTheNewest(Loads):
    policy = VersionPolicy.NEWEST


TestAnyOrderByTheFirst = Loads.TestCase
TestAnyOrderByTheNewest = LoadsByTheNewest.TestCase
