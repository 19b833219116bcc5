print("sipleak")
