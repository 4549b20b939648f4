"""Work spread over a Ray cluster: private answers of a data set, and the dealing of stocks.

A cluster is *one* party's: a client's for answers, the dealer's for dealing. Parties speak with
each other over Veilform's own channels alone, never over Ray (docs/decisions/0017).

    trust.py      which clusters may be used
    cluster.py    the only module that imports Ray
    answering.py  a worker is a client
    dealing.py    a worker deals whole stocks
"""
