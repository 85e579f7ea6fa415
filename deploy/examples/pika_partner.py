#!/usr/bin/env python3
"""A partner of Clawback in Python: asks for one purchase and waits for its event.

Needs the package pika (Debian: python3-pika). Nothing here is special to Clawback: commands are plain JSON on an exchange,
events plain JSON from a queue, and any AMQP 0-9-1 client of any language does the same.

    pika_partner.py --url amqp://acme:change-me@127.0.0.1:5672/%2f --partner acme --user alice --pack rookie

Each event read is printed as one line of JSON. Exit status: 0 fulfilled, 1 failed or rejected, 3 nothing final came in time.
"""

import argparse
import json
import sys
import time
import uuid

import pika

FINAL = {
    "clawback.purchase.fulfilled": 0,
    "clawback.purchase.failed": 1,
    "clawback.command.rejected": 1,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="RabbitMQ, as the partner's own user")
    parser.add_argument("--partner", required=True)
    parser.add_argument("--user", required=True, help="your name for the user who gets the items")
    parser.add_argument("--pack", required=True)
    parser.add_argument("--amount", type=int, default=1)
    parser.add_argument("--request-id", default=str(uuid.uuid4()), help="asking twice with one id buys once (default: random)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the final event")
    return parser.parse_args()


def publish(channel, args):
    """Returns when the broker has the command. Not before: what it has not confirmed may be lost."""
    command = {"request_id": args.request_id, "user_id": args.user, "pack_id": args.pack, "amount": args.amount}
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,  # persistent
        timestamp=int(time.time()),  # lets Clawback tell how old its backlog is
    )
    channel.basic_publish(
        exchange=f"clawback.commands.{args.partner}",
        routing_key="purchase",
        body=json.dumps(command).encode(),
        properties=properties,
        mandatory=True,
    )


def await_final_event(channel, args):
    """Reads the event queue until the purchase's final event. Exactly one comes, but an event may be delivered more than once.

    A partner's real consumer handles every event, whatever it belongs to, before it acks; this one only prints them.
    """
    started = time.monotonic()
    queue = f"clawback.events.{args.partner}"
    # A turn without a message is what lets the loop look at the clock.
    for method, properties, body in channel.consume(queue, inactivity_timeout=0.2):
        if method is not None:
            event = json.loads(body)
            print(json.dumps(event), flush=True)
            channel.basic_ack(method.delivery_tag)
            if properties.correlation_id == args.request_id and event["type"] in FINAL:
                return FINAL[event["type"]]
        if time.monotonic() - started > args.timeout:
            print(f"no final event of {args.request_id} within {args.timeout} s", file=sys.stderr)
            return 3


def main():
    args = arguments()
    connection = pika.BlockingConnection(pika.URLParameters(args.url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        publish(channel, args)
        print(f"the broker has {args.request_id}", file=sys.stderr)
        return await_final_event(channel, args)
    except pika.exceptions.UnroutableError:
        print("no queue takes the command: does this partner exist?", file=sys.stderr)
    except pika.exceptions.NackError:
        print("the broker refused the command: the partner's queue is full, try again later", file=sys.stderr)
    finally:
        connection.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
