"""`ctsl check`: do the kit's results hold on this machine?

`parts` makes the six parts of the check into one report; each part is a module: `machine`, `losses`, `repeat` and
`resume`, `records`, `speed`. It stands beside the library, which never imports it.
"""
