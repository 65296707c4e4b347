"""Are the documents of a run what consumers may rely on? event-model's schemas, and the rules beside them."""

from collections import Counter
from typing import Any

from event_model import DocumentNames, RunRouter, schema_validators

Documents = list[tuple[str, dict[str, Any]]]
VERSIONED = ("start", "descriptor", "event", "stop")


def check_run(documents: Documents) -> dict[str, Any]:
    """Check the documents of at most one run, and give its start, its events by stream and its exit status.

    Raises
    ------
    AssertionError, jsonschema.ValidationError, event_model.EventModelError
        For the first rule that is broken.
    """
    if not documents:
        return {"start": {}, "events": {}, "exit_status": None}
    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    names = [name for name, _ in documents]
    start, stop = documents[0][1], documents[-1][1]
    assert names[0] == "start", names
    assert names[-1] == "stop", names
    assert names.count("start") == names.count("stop") == 1, names
    assert stop["run_start"] == start["uid"]
    uids = Counter(doc["uid"] for name, doc in documents if name in VERSIONED)
    assert uids.most_common(1)[0][1] == 1, uids.most_common(1)
    streams, events = _streams(documents, start["uid"])
    assert stop["num_events"] == {name: len(found) for name, found in events.items()}
    assert start["time"] <= stop["time"]
    _route(documents)
    in_short = {
        name: [{"seq_num": event["seq_num"], **event["data"]} for event in found]
        for name, found in events.items()
        if found
    }
    return {"start": start, "events": in_short, "exit_status": stop.get("exit_status"), "streams": sorted(streams)}


def _streams(documents: Documents, run: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Descriptors before their events, one a stream; events with just the keys that were declared, numbered from 1."""
    by_uid: dict[str, dict[str, Any]] = {}
    events: dict[str, list[dict[str, Any]]] = {}
    for name, doc in documents:
        if name == "descriptor":
            assert doc["run_start"] == run
            assert doc["name"] not in events, f"second descriptor of {doc['name']}"
            by_uid[doc["uid"]] = doc
            events[doc["name"]] = []
            assert sorted(key for keys in doc["object_keys"].values() for key in keys) == sorted(doc["data_keys"])
        elif name == "event":
            descriptor = by_uid[doc["descriptor"]]
            assert set(doc["data"]) == set(doc["timestamps"]) == set(descriptor["data_keys"])
            events[descriptor["name"]].append(doc)
            assert doc["seq_num"] == len(events[descriptor["name"]]), (descriptor["name"], doc["seq_num"])
    return {doc["name"]: doc for doc in by_uid.values()}, events


def _route(documents: Documents) -> None:
    """Send them through event-model's own router, which refuses what belongs to no run, as consumers do."""
    seen: list[str] = []

    def factory(name: str, doc: dict[str, Any]) -> tuple[list[Any], list[Any]]:  # noqa: ARG001
        return [lambda name, _: seen.append(name)], [lambda *_: [lambda *_: None]]

    router = RunRouter([factory])
    for name, doc in documents:
        router(name, doc)
    assert seen == ["event_page" if name == "event" else name for name, _ in documents]
