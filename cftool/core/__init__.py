"""What everything else stands on: types, the Store protocol, errors and paths. No I/O, standard library only."""
