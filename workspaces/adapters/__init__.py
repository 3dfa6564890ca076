"""Where content lies: rows of PostgreSQL, behind functions an object store could serve as well."""
