"""The service's paths, one file a topic; each is a few lines over :class:`lookalike.server.service.Service`."""
