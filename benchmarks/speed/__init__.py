"""How fast catdog_pl is, beside Keras, a plain Lightning port and fastai, and beside the machine's limits."""
