import Firewall

/// Reads the input as what `ipset save` prints.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard let sets = try? AddressSetReader.read(bytes, source: "input") else { return 0 }
  // No shorter way to say either: "create a b" and "add a b", each on a line.
  let said = sets.reduce(0) { $0 + 6 + $1.entries.count * 6 }
  precondition(said <= bytes.count, "more was read than was written")
  precondition(Set(sets.map(\.name)).count == sets.count, "a set was read twice")
  return 0
}
