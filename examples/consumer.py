"""Prints what happens to Moa's products, in order and once: a consumer with a queue of its own. Needs pika.

    AMQP_URL=amqp://guest:guest@127.0.0.1:5672/%2f python3 examples/consumer.py LOG_ID [HOW_MANY_EVENTS]
"""
import json
import os
import sys

import pika

if len(sys.argv) not in (2, 3) or not all(count.isdigit() for count in sys.argv[2:]):
    sys.exit("consumer.py: say which log: consumer.py LOG_ID [HOW_MANY_EVENTS]")
exchange, left = f"product.events.{sys.argv[1]}", int(sys.argv[2]) if sys.argv[2:] else -1
url = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
try:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
except (pika.exceptions.AMQPError, OSError, ValueError, LookupError) as error:  # the last two: no such URL
    sys.exit(f"consumer.py: cannot reach RabbitMQ: is it running, and AMQP_URL right? ({type(error).__name__})")
try:
    # Passive, so that none is made: to an exchange of another name nobody would ever publish.
    channel.exchange_declare(exchange, passive=True)
except pika.exceptions.ChannelClosedByBroker as closed:
    if closed.reply_code != 404:
        raise
    sys.exit(f"consumer.py: there is no exchange {exchange}: is the log id right (select log_id from log_identity), and did "
             "Moa ever run with this AMQP_URL? It makes the exchange")
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, exchange, "#")  # "3" would be partition 3 alone
seen = {}
for delivery, properties, body in channel.consume(queue):
    for event in json.loads(body):
        partition, position = event["partition"], int(event["position"])
        place = (int(event.get("incarnation", 1)), position)  # positions begin again where the log lost events
        last = seen.get(partition, (1, 0))
        if place > last and left:  # else it is a repeat, or was lost
            if place[0] > last[0] and last[1] > int(event["forkedat"]):
                print(partition, f"the log lost its events after {event['forkedat']}: forget them", flush=True)
            print(partition, position, event["time"], event["type"], json.dumps(event["data"]), flush=True)
            seen[partition], left = place, left - 1
    channel.basic_ack(delivery.delivery_tag)
    if not left:
        break
