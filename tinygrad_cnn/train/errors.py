"""The errors that a user of the command line causes and can mend."""


class TrainError(Exception):
    """Something in the user's model, data, files or settings; the message is one line for them."""
