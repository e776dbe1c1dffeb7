"""Asking models in words and pictures: served or opened here, within a budget, nothing paid twice."""
