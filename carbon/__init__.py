"""Bytes in → datapoints in storage, or to other servers.

A datapoint's path:
  ways_in.py     each listener's socket, TLS and reader       (listen.py: streams; datagrams.py; admin.py: HTTP)
  protocols/     a reader turns bytes into columns            (sans-IO; kernels.py and decimal.py are its loops)
  names.py       each name is a dense id; what depends on the name was decided when it was first seen
  ruled.py       where there are rules: what the names became (rules/), and the aggregates they feed (aggregate.py)
  intake.py      ids → series; store.append(series, timestamps, values); what is refused is counted by reason
  relay/         what goes on to other servers
  pipeline.py    puts the middle together, keeper.py looks after the store, service.py has it all
Beside it: config.py and settings.py (what the operator says), stats.py (what we say), collect.py (this host).
"""
