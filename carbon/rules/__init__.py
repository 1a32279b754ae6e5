"""The operator's rules: a name → what becomes of it. Pure: decided once for each name, never for each datapoint.

The order is carbon's:
  1. blacklist.conf, then whitelist.conf       filter.py        refused, or in
  2. rewrite-rules.conf [pre]                  rewrite.py       the name as the aggregation rules see it
  3. aggregation-rules.conf                    aggregation.py   which aggregates it feeds
  4. forward_all                               ruleset.py       whether the name itself goes on
  5. rewrite-rules.conf [post]                 rewrite.py       the name as it is stored
  6. relay-rules.conf                          relay.py         where it is relayed to, if it is
The aggregates themselves enter at 6: they are neither filtered nor rewritten nor aggregated again.
`patterns.py` asks a name for all patterns at once; `linear.py` writes them for google-re2; `lines.py` reads files.
"""
