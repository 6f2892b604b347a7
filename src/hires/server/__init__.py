"""HTTP in the A1111 web UI's dialect: requests in, jobs in order over one engine, pictures and their infotext out."""
