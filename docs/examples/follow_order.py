#!/usr/bin/env python3
"""Follows one order on Kafka: prints a line for each thing that happens to it.

    pip install confluent-kafka
    KAFKA_BROKERS=localhost:9092 python follow_order.py 01a2062e-6539-7c10-9d2e-0a5b6c7d8e9f --until confirmed

It reads the one partition of the topic of orders that the order's stream is in, from the beginning. docs/consuming.md tells why it does what it does.
"""

import argparse
import json
import os
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

POLL_S = 0.2


class Missing(Exception):
    """Events of the partition are not on the topic any more."""


class Unknown(Exception):
    """An event that this program is too old for."""


def partition_of(stream, partitions):
    """The partition of a stream: Kafka's own rule for keys, murmur2 with its sign cut off."""
    data, mask, factor = stream.encode(), 0xFFFFFFFF, 0x5BD1E995
    value = (0x9747B28C ^ len(data)) & mask
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * factor & mask
        word = (word ^ word >> 24) * factor & mask
        value = (value * factor & mask) ^ word
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    value ^= value >> 15
    return (value & 0x7FFFFFFF) % partitions


class Place:
    """How far a partition has been seen: the position of its last event.

    A program that keeps something of its own keeps this number with it, in the same transaction.
    """

    def __init__(self, seen=0):
        self.seen = seen

    def is_new(self, position, previous):
        """Whether this event is to be taken, rather than one that came again."""
        if position <= self.seen:
            return False
        if previous > self.seen:
            raise Missing(f"the events between the positions {self.seen} and {position} of this partition are not on the topic")
        self.seen = position
        return True


def headers_of(message):
    return {name: value.decode() for name, value in message.headers() or []}


def cancellation_1(data):
    """Version 1 said why in one word."""
    return data["reason"]


def cancellation_2(data):
    return data["cause"]["kind"]


def amount(money):
    return f"{money['amount']} {money['currency']}"


def parcel(data):
    """Version 2 may leave out the carrier and its number."""
    return " ".join(data[name] for name in ("carrier", "tracking_number") if data[name])


# What an event makes of the order, and what is worth telling of it. Of a type that is not here we want to know nothing.
READERS = {
    ("OrderSubmitted", 1): ("submitted", lambda data: f"{len(data['lines'])} lines, {amount(data['totals']['total'])}"),
    ("OrderPlaced", 1): ("placed", lambda data: f"to be paid by {data['payment_deadline']}"),
    ("OrderRejected", 1): ("rejected", lambda data: data["reason"]),
    ("OrderConfirmed", 1): ("confirmed", lambda data: f"{amount(data['captured'])} captured"),
    ("OrderCancelled", 1): ("cancelled", cancellation_1),
    ("OrderCancelled", 2): ("cancelled", cancellation_2),
    ("OrderShipped", 1): ("shipped", parcel),
    ("OrderShipped", 2): ("shipped", parcel),
    ("OrderDelivered", 1): ("delivered", lambda data: f"shipment {data['shipment']}"),
    ("OrderReturned", 1): ("returned", lambda data: data["reason"]),
}
KNOWN_TYPES = {event_type for event_type, _ in READERS}


def told(headers, data):
    """The order's new status and what to say of the event; None where it is of a type that we don't follow."""
    event_type, version = headers["ce_type"], int(headers["ce_schemaversion"])
    if event_type not in KNOWN_TYPES:
        return None
    if (event_type, version) not in READERS:
        raise Unknown(f"{event_type} has the schema version {version}, which this program does not know yet")
    status, reader = READERS[event_type, version]
    return status, reader(data)


def settings(variables):
    """librdkafka's settings from the variables that Merx has, too."""
    names = {
        "KAFKA_BROKERS": "bootstrap.servers",
        "KAFKA_SECURITY_PROTOCOL": "security.protocol",
        "KAFKA_SASL_MECHANISM": "sasl.mechanism",
        "KAFKA_SASL_USERNAME": "sasl.username",
        "KAFKA_SASL_PASSWORD": "sasl.password",
        "KAFKA_SSL_CA_LOCATION": "ssl.ca.location",
        "KAFKA_SSL_CERTIFICATE_LOCATION": "ssl.certificate.location",
        "KAFKA_SSL_KEY_LOCATION": "ssl.key.location",
        "KAFKA_SSL_KEY_PASSWORD": "ssl.key.password",
    }
    given = {setting: variables[name] for name, setting in names.items() if variables.get(name)}
    # Places are kept by ourselves; librdkafka wants a group all the same.
    own = {"group.id": "follow-order", "enable.auto.commit": False, "auto.offset.reset": "earliest", "reconnect.backoff.ms": 1000}
    return given | own


def messages(consumer, timeout_s):
    """Messages as they come, for at most so long; without end where that is none."""
    limit = None if timeout_s is None else time.monotonic() + timeout_s
    while limit is None or time.monotonic() < limit:
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        if message.error():
            # Brokers that are away are tried again by librdkafka; what comes here is worth telling, and not always the end.
            if message.error().fatal():
                raise KafkaException(message.error())
            print(f"kafka: {message.error().str()}", file=sys.stderr)
            continue
        yield message


def follow(consumer, order, until, timeout_s):
    """Prints what happens to the order. True once its status is `until`."""
    stream, place = f"order-{order}", Place()
    for message in messages(consumer, timeout_s):
        headers = headers_of(message)
        is_new = place.is_new(int(headers["ce_position"]), int(headers["ce_previousposition"]))
        if not is_new or message.key() != stream.encode():
            continue
        new = told(headers, json.loads(message.value()))
        if new is None:
            continue
        status, words = new
        print(f"{headers['ce_time']} {headers['ce_streamversion']} {status}: {words}", flush=True)
        if status == until:
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description="Follows one order on Kafka.")
    parser.add_argument("order", help="the order's id")
    parser.add_argument("--until", help="ends once the order has this status, as in confirmed")
    parser.add_argument("--timeout", type=float, help="ends after so many seconds, with 1 where --until was given and did not come")
    options = parser.parse_args()
    if not os.environ.get("KAFKA_BROKERS"):
        parser.error("set KAFKA_BROKERS")
    prefix = os.environ.get("KAFKA_TOPIC_PREFIX") or "merx"
    partition = partition_of(f"order-{options.order}", int(os.environ.get("KAFKA_PARTITIONS") or 12))
    consumer = Consumer(settings(os.environ))
    consumer.assign([TopicPartition(f"{prefix}.order", partition, OFFSET_BEGINNING)])
    try:
        has_come = follow(consumer, options.order, options.until, options.timeout)
    except (Missing, Unknown) as error:
        sys.exit(f"follow_order: {error}")
    except KeyboardInterrupt:
        has_come = True
    finally:
        consumer.close()
    sys.exit(0 if has_come or not options.until else 1)


if __name__ == "__main__":
    main()
