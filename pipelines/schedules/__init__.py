"""Files for other people's schedulers: text out, which only calls the command line.

State, cache, locks and gates stay in the pipeline, so that every scheduler behaves alike.
"""
