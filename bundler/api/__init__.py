"""The library: verbs with the adapters of this host. `bundler` exports what is public; the command line uses the same parts."""
