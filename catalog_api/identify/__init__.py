"""`/api/v1/identify`: what is this recording?"""
