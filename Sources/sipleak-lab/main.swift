print("sipleak-lab")
