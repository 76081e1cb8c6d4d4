"""A hospital: one step for each patient, which privacy_mod clips, rounds, noises and masks."""

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedprivacy.flower import privacy_mod

app = ClientApp(mods=[privacy_mod])


@app.train()
def train(message: Message, context: Context) -> Message:
    """The weights after one step, a row for each patient: the plan's unit is the patient."""
    # Each message has a process of its own, and this one alone loads the patients.
    from hospitals.task import steps

    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    number, nodes = (int(context.node_config[f]) for f in ("partition-id", "num-partitions"))
    stepped = steps(number, nodes, weights)
    return Message(RecordDict({"arrays": ArrayRecord([stepped])}), reply_to=message)
