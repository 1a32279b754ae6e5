"""A datapoint's path through the relay, in columns all the way:

router     name → destinations, once for each name: a route id
hashring   the rings of carbon and carbon-c-relay that some methods ask
encode     columns → lines or pickled frames
relay      a batch → one chunk of bytes for each route → the clients of its destinations
client     one destination: queue, connection, what is sent again, counters
window     what is written but may not have arrived
spool      what waits on the disk while a destination is down
"""
