"""metrics/features"""
