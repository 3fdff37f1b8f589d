"""The kinds of the group `moorage.dev` as frozen pydantic models, and what is generated from them."""
