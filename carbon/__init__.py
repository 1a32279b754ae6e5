"""Bytes in → datapoints in storage.

A datapoint's path:
  listen.py      a socket has bytes                 (Twisted: TCP, UDP)
  protocols/     a reader turns them into columns   (sans-IO: line.py, pickle.py)
  names.py       each name is a dense id; what depends on the name was decided when it was first seen
  intake.py      ids → series; store.append(series, timestamps, values); what is refused is counted by reason
  service.py     puts these together, rolls up, reports carbon.agents.<host>.* and stops without losing anything
`kernels.py` and `decimal.py` are the loops over bytes; `collect.py` measures this host.
"""
