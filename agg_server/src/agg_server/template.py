"""The settings file that ``init`` writes: every key with its meaning, defaults commented out."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_TEMPLATE = """\
# Settings of a federation. A change counts from the next start of `fedit-server serve`: a round that only musters is
# opened anew with it, one whose cohorts are at work ends as it began. Durations: "20s", "30min", "12h", "7d".

[federation]
# What participants see.
name = {name}
# Adapter versions to publish; then the clients end. Raise it and start again to go on. 0: no end.
rounds = {rounds}
# Which of the adapter's two factors are averaged; part of the task that participants agree to. "fedavg": A and B.
# "ffa-lora": B alone, A stays as it is: half the bytes. "rolora": B and A in turns: half the bytes. "shared-a": A
# alone; each device has a B of its own and never sends it: without one the published adapter is the base model.
# strategy = "fedavg"
# FedProx: how strongly local training is held near the published adapter, where participants' data differ; part of the
# task too. 0: not at all.
# proximal = 0.0

[server]
# What join links carry: how participants reach this server.
address = {address}
# Where this process listens.
listen = {listen}
# PEM files; relative paths count from this folder. A renewed certificate is taken up without a restart; with the same
# key it needs no new links.
certificate = {certificate}
key = {key}
# Whether links carry the hash of the certificate's key. Needed unless all participants' machines trust who signed it.
pin = {pin}
# Or "postgresql://USER@HOST/NAME" (14 or newer; a database of its own), which several `fedit-server serve` can share;
# it needs: pip install "psycopg[binary]". The password: here after USER, or in PGPASSWORD or ~/.pgpass.
{database}
# A folder, or "s3://BUCKET/PREFIX" for S3-compatible storage, which needs: pip install obstore. Keys and place are from
# the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP (without TLS).
{blobs}
# Open connections at most, half of them from one address: a device that waits holds one for each of its rounds, and one
# that uploads three more.
# connections = 10000
# Requests a minute of one address that no device has to sign: joining, the page for browsers, health checks. Behind a
# proxy everybody has the proxy's address.
# unsigned_requests = 120
# Requests a minute of one device. An upload is one for each half megabyte, or more
# where its line keeps breaking.
# device_requests = 3000
# Where Prometheus reads /metrics, without TLS: keep it local. Empty: nowhere.
# metrics = "127.0.0.1:9464"
# Whether this server has the operator's pages: at /dashboard, on the same port, behind a login. false: there are none,
# and everything is done by commands.
# dashboard = true
# What is written to stderr: "text", key=value lines, or "json", an object a line.
# log = "text"

[model]
# The base model: a Hugging Face id, and its commit. The server never loads it.
id = {model}
revision = {revision}

[training]
# What each device does in a round. Exactly one of steps, epochs and minutes; without any, one epoch.
# steps = 100
# epochs = 1.0
# minutes = 30
# Step size of the devices' optimizer.
# learning_rate = 3e-4
# Records a step, whatever a machine can hold at once.
# batch_size = 16
# Tokens of a record; what is longer is cut.
# max_length = 512
# Whether the instruction is learned as well, or its answer alone.
# train_on_inputs = false
# How much each step draws weights towards zero.
# weight_decay = 0.0
# A longer gradient is shortened to this.
# max_grad_norm = 1.0
# Steps in which the learning rate rises to its own.
# warmup_steps = 0
# What devices may load the base model in, preferred first: "int8", "nf4", "none".
# quantization = ["int8"]

[round]
# Fewest devices that a cohort is formed of (3 to 255). Some of them may vanish: its sum is opened over more than half
# of it, at least two more than a third (3 of 3, 3 of 4, 4 of 6, 6 of 10, 33 of 64), and as many as any member demands.
cohort_min = {cohort_min}
# So many musters close the muster at once; 0: only time does.
cohort_target = {cohort_target}
# More devices than this make several cohorts (at most 255). A server needs disk for all uploads of a round.
# cohort_max = 64
# Share of the devices drawn for each round. Doubles each train_window that passes without enough of them.
# fraction = 1.0
# Time for a device to train.
# train_window = "24h"
# From the muster with which cohort_min devices are there to the forming of cohorts.
# muster_window = "30min"
# Time to upload.
# contribute_window = "30min"
# Time for the three short answers. Devices may be away for hours and still be counted.
# answer_window = "12h"
# How long the slower reports are awaited once enough are in.
# answer_grace = "20s"
# Bits of a summed value: 12, 16 or 24. More: finer, and a larger upload (2, 2.67, 4 bytes a parameter). "auto": 16,
# and 24 after a published mean to which rounding to 16 bits adds more than 1 % of its norm.
# slot_bits = "auto"
# 1: every device counts the same. More, at most 4096: a device counts for its records / 32, at most this, as in FedIT's
# paper. Then you, and every member, can tell how many records each device has, in steps of 32 up to 32 times this: sums
# of weights are published, and two rounds that differ by one device give its weight. Participants are told so before
# they agree; it is part of the task.
# max_weight = 1
# Values of an update beyond ± this are clipped. "auto": learning_rate times local steps at first, then following the
# published updates, never beyond sixteen times the first.
# clip = "auto"

[server_step]
# What is done with the mean update: "fedavg" adds it, "fedavgm" adds momentum, "fedadam" and "fedyogi" scale it by how
# much each value has moved so far: these two need a learning_rate of their own, for it is about how far a value moves
# in a round (begin with the clip range, see above). Its state lies beside each adapter version, so that a rollback has
# its own.
# optimizer = "fedavg"
# learning_rate = 1.0
# beta1 = 0.9
# beta2 = 0.99
# tau = 1e-3
"""


class Values(NamedTuple):
    """What ``init`` fills in."""

    name: str
    rounds: int
    address: str
    listen: str
    certificate: str
    key: str
    pin: bool
    model: str
    revision: str
    cohort_min: int
    cohort_target: int
    database: str = ""
    blobs: str = ""


def render(values: Values) -> str:
    """The file's text."""
    quoted = {field: json.dumps(value, ensure_ascii=False) for field, value in values._asdict().items()}
    for field, usual in (("database", "sqlite:///server.sqlite3"), ("blobs", "blobs")):
        given = getattr(values, field)
        quoted[field] = f"{field} = {quoted[field]}" if given else f"# {field} = {json.dumps(usual)}"
    return _TEMPLATE.format(**quoted)


class Meaning(NamedTuple):
    """What the file says of some keys of one section."""

    section: str
    keys: tuple[str, ...]
    words: str


_SECTION = re.compile(r"\[(\w+)\]")
_KEY = re.compile(r"(?:# )?([a-z]\w*) = |\{(\w+)\}")


def meanings() -> Iterator[Meaning]:
    """The words above each key, in the file's order; keys right below each other have them in common."""
    section, words = "", ""
    keys: list[str] = []
    for line in [*_TEMPLATE.splitlines(), ""]:
        key = _KEY.match(line)
        if key is not None:
            keys.append(key[1] or key[2])
            continue
        if keys:
            yield Meaning(section, tuple(keys), words)
            words, keys = "", []
        if (found := _SECTION.match(line)) is not None:
            section, words = found[1], ""
        elif line.startswith("# "):
            words = f"{words} {line.removeprefix('# ')}".strip()
