"""Manifests of every form, and how they are cut into units."""
