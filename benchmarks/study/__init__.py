"""The papers' claims, measured on one decoder: experiments as data, runs that resume, a page made from the results."""
