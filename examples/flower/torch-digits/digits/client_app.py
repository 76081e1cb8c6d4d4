"""A client: the gradient of each digit, which privacy_mod clips, rounds, noises and masks."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from digits.task import moves, network
from fedprivacy.flower import privacy_mod, unit_reply

app = ClientApp(mods=[privacy_mod])


@app.train()
def train(message: Message, context: Context) -> Message:
    """One row for each digit: the plan's unit is the digit."""
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    number, nodes = (int(context.node_config[f]) for f in ("partition-id", "num-partitions"))
    return unit_reply(message, moves(model, number, nodes))
