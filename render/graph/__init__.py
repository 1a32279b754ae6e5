"""Pictures: series + options → layout → shapes → SVG → PNG, or shapes → PDF. All but the last step is pure.

`options` are the drawing parameters of a request, `picture` makes shapes of series and options (`line` or `pie`),
`svg` writes them, `raster` and `pdf` make bytes of that. `scale` and `timeaxis` choose what axes show, `text` knows
the shipped fonts' widths, so that nothing is laid over anything else.
"""
