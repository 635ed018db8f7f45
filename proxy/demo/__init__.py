"""The sample appliance and the story that `popgate demo` plays."""
