"""A practice: one row for each patient, which privacy_mod adds up, noises and masks."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from sklearn.datasets import load_diabetes

from fedprivacy.flower import histogram_reply, privacy_mod

PRACTICES = 10
app = ClientApp(mods=[privacy_mod])


@app.query()
def query(message: Message, context: Context) -> Message:
    """In which of the bins that were asked for each patient's age is."""
    ages = load_diabetes(scaled=False).data[:, 0]
    mine = ages[int(context.node_config["partition-id"]) :: PRACTICES]
    return histogram_reply(message, mine)
