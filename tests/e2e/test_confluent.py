"""Records in the frames of a schema registry, in and out. Frames are written and read here by hand (wire.py), the
message index is taken from what protoc makes of the .proto files, and one writer is Confluent's own."""

import wire
from env import Skip
from process import Failure
from test_deadletters import dead_letters
from test_readers import generated
from test_wire import TITLES, check_category, check_headers, classify, run, same

OURS, OLDER, ABROAD, CATEGORIES = 100_001, 7, 8, 0x01020304
IN = dict(wire_in="confluent", schema_ids_in=f"{OLDER}, {OURS}")
OUT = dict(wire_out="confluent", schema_id_out=CATEGORIES)


def index_of(module, message):
    return [list(module.DESCRIPTOR.message_types_by_name).index(message)]


def test_frames_in_and_out(env):
    """Each message under each id and in each way to write its index; categories in frames of their own."""
    headline, category = generated(env, "headline"), generated(env, "category")
    one = [headline.Headline(id=f"id-{i}", title=t, published_unix_ms=1_600_000_000_000 + i)
           for i, t in enumerate(TITLES)]
    single = index_of(headline, "Headline")
    frames = [  # (index, message, its headlines)
        (None, one[0], one[0:1]),
        (single, one[1], one[1:2]),
        (index_of(headline, "HeadlineBatch"), headline.HeadlineBatch(headlines=one[2:9]), one[2:9]),
        (index_of(headline, "HeadlineRecord"), headline.HeadlineRecord(headlines=one[9:12]), one[9:12]),
        (index_of(headline, "HeadlineRecord"), headline.HeadlineRecord(title=TITLES[12], id="id-12"), one[12:13]),
    ]
    records, wanted = [], []
    for schema_id in (OURS, OLDER):
        for index, message, headlines in frames:
            records.append(dict(value=wire.confluent(schema_id, index, message.SerializeToString()), partition=0,
                                key=b"k%d" % len(records)))
            wanted += [(len(records) - 1, i, h) for i, h in enumerate(headlines)]
    topics, places, out = run(env, records, partitions=1, **IN, **OUT)
    same("records out", len(out), len(wanted))
    said = dict(zip(TITLES, classify(env, TITLES)))
    for record, i, h in wanted:
        r = out[places[record] + (i,)]
        same("topic", r.topic, topics.output)
        same("key", r.key, records[record]["key"])
        schema_id, index, message = wire.unframed(r.value)
        same("schema id", schema_id, CATEGORIES)
        same("message index", index, index_of(category, "Category"))
        same("frame", r.value, wire.confluent(CATEGORIES, index, message))
        got = wire.category(message)
        same("id", category.Category.FromString(message).id, h.id)
        check_category(env, got, h.title, said[h.title])
        check_headers(r, got["model_name"], got["model_version"])


def test_each_way_alone(env):
    """Frames in, plain protobuf out; and the other way round."""
    frames = [dict(value=wire.confluent(OURS, None, wire.headline(t)), partition=0) for t in TITLES[:5]]
    plain = [dict(value=wire.headline(t), partition=0) for t in TITLES[:5]]
    said = [s["label"] for s in classify(env, TITLES[:5])]
    topics, _, _ = run(env, frames, partitions=1, **IN)
    same("labels", [wire.category(r.value)["label"] for r in env.kafka.read(topics.output)], said)
    topics, _, _ = run(env, plain, partitions=1, **OUT)
    same("labels", [wire.category(wire.unframed(r.value)[2])["label"] for r in env.kafka.read(topics.output)], said)


GOOD = wire.headline(TITLES[0])
BAD = [  # (value, reasons allowed, what dlq.error says)
    (None, "null-value", "tombstone"),
    (b"", "malformed", "no frame: the value has no bytes"),
    (GOOD, "malformed", "byte 0: magic byte 18, expected 0"),
    (b"{\"title\": \"json by mistake\"}", "malformed", "magic byte 123, expected 0"),
    (wire.confluent(OURS, None, GOOD, magic=1), "malformed", "byte 0: magic byte 1, expected 0"),
    (wire.confluent(OURS, None, GOOD)[:4], "malformed", "byte 1: the schema id is cut off: 3 of 4 bytes"),
    (wire.confluent(ABROAD, None, GOOD), "malformed", "byte 1: schema id 8 is not in schema-ids-in"),
    (wire.confluent(2**32 - 1, None, GOOD), "malformed", "schema id 4294967295 is not in schema-ids-in"),
    (wire.confluent(OURS, b"", b""), "malformed", "byte 5: the message index is cut off"),
    (wire.confluent(OURS, b"\x02\xff\xff", b""), "malformed", "byte 6: the message index is cut off"),
    (wire.confluent(OURS, b"\xff" * 10 + b"\x01", GOOD), "malformed", "byte 5: the message index holds a varint of more"),
    (wire.confluent(OURS, [3], GOOD), "malformed", "message index 3: the messages of headline.proto are 0 to 2"),
    (wire.confluent(OURS, [-1], GOOD), "malformed", "message index -1: the messages of"),
    (wire.confluent(OURS, [0, 0], GOOD), "malformed", "a message index of 2 numbers"),
    (wire.confluent(OURS, b"\x01\x01", wire.batch([GOOD])), "malformed", "is it not in zigzag form?"),
    (wire.confluent(OURS, None, GOOD[:-1]), "malformed", "byte 6: field 2: longer than what holds it"),
    (wire.confluent(OURS, None, wire.batch([GOOD])), "malformed", "a Headline with a list of 1 headlines"),
    (wire.confluent(OURS, [1], GOOD), "malformed", "a HeadlineBatch with the fields of one headline"),
    (wire.confluent(OURS, [1], b""), "empty-batch", "no headline"),
    (wire.confluent(OURS, None, b""), "empty-title", "no title"),
    (wire.confluent(OURS, None, wire.headline(b"\xff")), "invalid-utf8", "UTF-8"),
]


def test_reasons(env):
    """What is no such frame is a dead letter of the bytes as they came, and the note says what is wrong."""
    dead_letters(env, [(value, {reason}) for value, reason, _ in BAD], wire.confluent(OURS, None, GOOD), **IN)


def test_notes(env):
    topics, places, out = run(env, [dict(value=value, partition=0) for value, _, _ in BAD], partitions=1, **IN)
    for n, (value, _, note) in enumerate(BAD):
        said = dict(out[places[n] + (0,)].headers)["dlq.error"].decode()
        if note not in said or (note.startswith("byte") and not said.startswith("confluent: " + note)):
            raise Failure(f"{value!r}: dlq.error {said!r}, not {note!r}")


class Registry:
    """Stands for a schema registry's client: every schema has the one id."""

    def register_schema(self, subject, schema):
        return OURS


def test_confluents_own_serializer(env):
    """python3-confluent-kafka frames single headlines. (Batches not: up to 1.7 it writes their index in plain
    varints, later on request only.)"""
    try:
        from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
        from confluent_kafka.serialization import MessageField, SerializationContext
    except ImportError as why:
        raise Skip(f"confluent_kafka.schema_registry: {why}") from None
    headline = generated(env, "headline")
    try:
        serialize = ProtobufSerializer(headline.Headline, Registry(), {"use.deprecated.format": False})
    except ValueError:  # 1.7 and older do not know the property
        serialize = ProtobufSerializer(headline.Headline, Registry())
    topics = env.topics(1)
    context = SerializationContext(topics.input, MessageField.VALUE)
    values = [serialize(headline.Headline(id=str(i), title=t), context) for i, t in enumerate(TITLES)]
    same("frame by hand", values[0], wire.confluent(OURS, None, wire.headline(TITLES[0], id="0")))
    topics, places, out = run(env, [dict(value=v, partition=0) for v in values], partitions=1, **IN)
    got = [wire.category(r.value) for r in env.kafka.read(topics.output)]
    same("ids", [c["id"] for c in got], [str(i) for i in range(len(TITLES))])
    same("labels", [c["label"] for c in got], [s["label"] for s in classify(env, TITLES)])
