"""A client whose training is one addition, asked privately, in the clear, or for nothing at all."""

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedprivacy.flower import privacy_mod

app = ClientApp()


def added(message: Message, _: Context) -> Message:
    arrays = message.content["arrays"]
    moved = ArrayRecord({name: Array(a.numpy() + 1e-4) for name, a in arrays.items()})
    content = RecordDict({"arrays": moved, "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)


app.train(mods=[privacy_mod])(added)
app.train("plain")(added)


@app.query("empty")
def empty(message: Message, _: Context) -> Message:
    return Message(RecordDict(), reply_to=message)
