#!/usr/bin/env python3
"""Compares idem_hash with real Python, on the vectors and on random records.

    sha256(json.dumps({k: r[k] for k in keys}, sort_keys=True))

Uses psql and its environment (PGHOST, PGDATABASE, …); prints a line for each
check and, last, how many passed.  IDEM_SEED repeats a run, IDEM_RECORDS sets the
number of random records.
"""

import datetime
import decimal
import hashlib
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import uuid

SEED = int(os.environ.get("IDEM_SEED", random.SystemRandom().randrange(2**32)))
RECORDS = int(os.environ.get("IDEM_RECORDS", 100_000))
HERE = os.path.dirname(os.path.abspath(__file__))
rng = random.Random(SEED)
passed = failed = 0


def check(name, problems):
    """Reports one check; problems is a list of descriptions, empty if all is well."""
    global passed, failed
    if problems:
        failed += 1
        print(f"not ok - {name}: {len(problems)} differ, seed {SEED}")
        for problem in problems[:5]:
            print("   ", problem)
    else:
        passed += 1
        print(f"ok - {name}")


def psql(script):
    """Runs a script and returns what it prints."""
    result = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"],
        input=script.encode("utf-8", "surrogatepass"), stdout=subprocess.PIPE, check=True)
    return result.stdout.decode("ascii")


def copy_escape(value):
    """A value in COPY's text format."""
    if value is None:
        return "\\N"
    return (value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
            .replace("\r", "\\r"))


def query_rows(columns, rows, select):
    """Loads rows of text into a table and returns the result of select on each, in order."""
    with tempfile.NamedTemporaryFile("w", suffix=".copy", newline="\n",
                                     encoding="utf-8", delete=False) as file:
        for i, row in enumerate(rows):
            file.write("\t".join([str(i)] + [copy_escape(v) for v in row]) + "\n")
    try:
        out = psql(f"SET client_encoding = 'UTF8';\n"
                   f"CREATE TEMP TABLE r (row_number int, {columns});\n"
                   f"\\copy r FROM '{file.name}'\n"
                   f"SELECT {select} FROM r ORDER BY row_number;\n")
    finally:
        os.unlink(file.name)
    return out.split("\n")[:-1]


def canonical(record, keys):
    """What Python makes of a record."""
    return json.dumps({k: record[k] for k in keys}, sort_keys=True)


def sha256(text):
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def compare(expected, got, shown):
    """Lists where two lists differ."""
    if len(expected) != len(got):
        return [f"{len(expected)} rows expected, got {len(got)}"]
    return [f"{shown[i]}: expected {e}, got {g}"
            for i, (e, g) in enumerate(zip(expected, got)) if e != g]


def random_text():
    """Text with every kind of character that a text value can hold."""
    pools = ("abc XYZ019 -_/'~", '"\\\b\f\n\r\t', "\x01\x1f\x7f\x80\x9f\xa0éß",
             "漢字かな\u2028\ufeff\ufffd\uffff", "😀𐀀\U0010ffff\U0001fffe")
    return "".join(
        rng.choice(rng.choice(pools)) if rng.random() < 0.9 else
        chr(rng.choice([rng.randrange(1, 0xd800), rng.randrange(0xe000, 0x110000)]))
        for _ in range(rng.randrange(12)))


def random_float():
    """Floats of every size, with those where shortest conversions differ."""
    kind = rng.randrange(6)
    if kind == 0:
        while True:
            value = struct.unpack("d", rng.randbytes(8))[0]
            if math.isfinite(value):
                return value
    if kind == 1:
        return float(rng.randrange(2**54, 10**17)) * rng.choice([1, -1])
    if kind == 2:
        return round(rng.uniform(-1000, 1000), rng.randrange(8))
    if kind == 3:
        return rng.choice([1, 2, 3, 5, 7, 9]) * 10.0 ** rng.randrange(-30, 40)
    if kind == 4:
        return 2.0 ** rng.randrange(-1074, 1024)
    return rng.choice([0.0, -0.0, 1e15, 1e16, 1e-4, 1e-5, 9007199254740993.0, 5e-324])


def random_json(depth=0):
    """A JSON value of any kind."""
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randrange(-1000, 1000)
    if kind == 2:
        return rng.randrange(-10**30, 10**30)
    if kind == 3:
        return random_float()
    if kind in (4, 5):
        return random_text()
    if kind == 6:
        return [random_json(depth + 1) for _ in range(rng.randrange(4))]
    return {random_text(): random_json(depth + 1) for _ in range(rng.randrange(5))}


def jsonb_value(value):
    """The value as jsonb holds it: floats that are integral lost their fraction unless it was written."""
    if isinstance(value, float):
        text = repr(value)
        if "e" in text:
            exact = decimal.Decimal(text)
            if exact == exact.to_integral_value():
                return int(exact)
        return 0.0 if value == 0 else value
    if isinstance(value, list):
        return [jsonb_value(v) for v in value]
    if isinstance(value, dict):
        return {k: jsonb_value(v) for k, v in value.items()}
    return value


def test_vectors():
    """The vectors of the design, by type json and, where it keeps the value, by jsonb."""
    with open(os.path.join(HERE, "python_vectors.json"), encoding="utf-8") as file:
        vectors = json.load(file)
    texts, expected, names = [], [], []
    for vector in vectors:
        text = vector["record_text"]
        record = json.loads(text)
        if any(special in text for special in ("NaN", "Infinity")):
            continue            # no JSON to PostgreSQL
        texts.append((text,))
        expected.append(sha256(json.dumps({"doc": record}, sort_keys=True)))
        names.append(vector["name"])
        assert vector["sha256"] == sha256(canonical(record, vector["keys"]))
    got = query_rows("doc json", texts, "idem_hash(r, '{doc}')")
    check(f"{len(texts)} vectors as json", compare(expected, got, names))

    texts, expected, names = [], [], []
    for vector in vectors:
        keys = vector["keys"]
        if vector["jsonb"] not in ("same", "differs") or not keys or len(set(keys)) < len(keys):
            continue
        texts.append((vector["record_text"], json.dumps(keys)))
        expected.append(vector["jsonb_sha256"] if vector["jsonb"] == "differs" else vector["sha256"])
        names.append(vector["name"])
    got = query_rows("doc jsonb, k jsonb", texts,
                     "idem_hash(doc, ARRAY(SELECT jsonb_array_elements_text(k)))")
    check(f"{len(texts)} vectors as jsonb", compare(expected, got, names))


def test_documents(n):
    """Random documents, as json and as jsonb."""
    documents = [{random_text(): random_json() for _ in range(rng.randrange(1, 6))} for _ in range(n)]
    texts = [json.dumps(d, ensure_ascii=rng.random() < 0.5) for d in documents]
    got = query_rows("doc json", [(t,) for t in texts], "idem_hash(r, '{doc}')")
    expected = [sha256(canonical({"doc": d}, ["doc"])) for d in documents]
    check(f"{n} random documents as json", compare(expected, got, texts))

    got = query_rows("doc jsonb", [(t,) for t in texts],
                     "idem_hash(doc, ARRAY(SELECT jsonb_object_keys(doc)))")
    expected = [sha256(canonical(jsonb_value(d), list(d))) for d in documents]
    check(f"{n} random documents as jsonb", compare(expected, got, texts))


def test_records(n):
    """Random rows of typed columns."""
    columns = ("i2 int2, i4 int4, i8 int8, f8 float8, b bool, t text, \"Ünï\" varchar, d date, "
               "ts timestamp, tz timestamptz, tm time, u uuid, y bytea, a int[], n numeric")
    keys = ["i2", "i4", "i8", "f8", "b", "t", "Ünï", "d", "ts", "tz", "tm", "u", "y", "a", "n"]
    records, rows, chosen = [], [], []
    epoch = datetime.datetime(1, 1, 1)
    for _ in range(n):
        moment = epoch + datetime.timedelta(days=rng.randrange(3652000), seconds=rng.randrange(86400),
                                            microseconds=rng.choice([0, rng.randrange(10**6)]))
        array = [rng.choice([None, rng.randrange(100)]) for _ in range(rng.randrange(4))]
        number = round(rng.uniform(-10**6, 10**6), rng.randrange(1, 6))
        record = dict(
            i2=rng.randrange(-2**15, 2**15), i4=rng.randrange(-2**31, 2**31),
            i8=rng.randrange(-2**63, 2**63), f8=random_float(), b=rng.random() < 0.5,
            t=random_text(), d=moment.date().isoformat(), ts=moment.isoformat(),
            tz=moment.replace(tzinfo=datetime.timezone.utc).isoformat(),
            tm=moment.time().isoformat(), u=str(uuid.UUID(int=rng.getrandbits(128))),
            y=rng.randbytes(rng.randrange(5)).hex(), a=array,
            n=int(number) if number == int(number) else number)
        record["Ünï"] = random_text()
        row = dict(record)
        row["y"] = "\\x" + record["y"]
        row["a"] = "{" + ",".join("NULL" if v is None else str(v) for v in array) + "}"
        for key in keys:
            if rng.random() < 0.05:
                record[key] = row[key] = None
        subset = rng.sample(keys, rng.randrange(1, len(keys) + 1))
        records.append(canonical(record, subset))
        rows.append([None if row[k] is None else
                     repr(row[k]) if isinstance(row[k], float) else str(row[k]) for k in keys]
                    + ["{" + ",".join(f'"{k}"' for k in subset) + "}"])
        chosen.append(subset)
    got = query_rows(columns + ", k text[]", rows, "idem_hash(r, k)")
    check(f"{n} random records", compare([sha256(c) for c in records], got, records))
    got = query_rows(columns + ", k text[]", rows[:1000], "idem_canonical(r, k)")
    check("their canonical form", compare(records[:1000], got, records))
    # without the quoting of COPY in between, by the same keys throughout
    got = query_rows(columns + ", k text[]", rows, "idem_hash(r, '{i8,t,tz}')")
    check("a constant list of keys", [] if len(set(got)) > n * 0.9 else ["too many equal IDs"])


def test_floats(n):
    """Random floats, singles too."""
    values = [random_float() for _ in range(n)]
    got = query_rows("f float8", [(repr(v),) for v in values], "idem_canonical(r, '{f}')")
    check(f"{n} random doubles", compare([canonical({"f": v}, ["f"]) for v in values], got, values))
    got = query_rows("f float8", [("NaN",), ("Infinity",), ("-Infinity",)], "idem_canonical(r, '{f}')")
    check("special doubles", compare(['{"f": NaN}', '{"f": Infinity}', '{"f": -Infinity}'], got, "nip"))

    singles = []
    while len(singles) < n:
        value = struct.unpack("f", rng.randbytes(4))[0]
        if math.isfinite(value):
            singles.append(value)
    singles += [float(2**k) for k in range(-149, 128)]
    got = query_rows("f float4", [(repr(v),) for v in singles], "idem_canonical(r, '{f}')")
    check(f"{len(singles)} random singles", compare(
        [canonical({"f": shortest_single(v)}, ["f"]) for v in singles], got, singles))


def shortest_single(value):
    """The double that a single's own shortest digits denote."""
    for digits in range(1, 10):
        text = f"{value:.{digits - 1}e}"
        candidates = [text]
        mantissa, exponent = text.split("e")
        unit = decimal.Decimal(1).scaleb(1 - digits)
        for step in (-1, 1):
            candidates.append(f"{decimal.Decimal(mantissa) + step * unit}e{exponent}")
        for candidate in candidates:
            try:
                if struct.unpack("f", struct.pack("f", float(candidate)))[0] == value:
                    return float(candidate)
            except OverflowError:
                pass
    raise AssertionError(value)


def main():
    print(f"# seed {SEED}")
    psql("CREATE EXTENSION IF NOT EXISTS idem CASCADE;")
    test_vectors()
    test_documents(RECORDS // 4)
    test_records(RECORDS // 2)
    test_floats(RECORDS // 4)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
