"""Pictures of any kind -> cat or dog; `catdog_pl.predict` is its function."""
