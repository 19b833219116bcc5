public import Addressing
import FoundationEssentials
public import Firewall
public import SystemPackage

/// The blocks of a moment, to be put back after a reboot with the time they have left.
///
/// The kernel keeps sets in memory only. The file is written whole or not at all, for its owner alone.
public struct SavedBlocks: Sendable, Hashable, Codable {
  /// One block.
  public struct Block: Sendable, Hashable, Codable {
    /// The set's family.
    public var family: AddressFamily
    /// The entry, such as `203.0.113.66,udp:5060`.
    public var element: String
    /// Seconds it had left when it was saved; 0 for no end.
    public var timeout: UInt32
    /// The entry's comment.
    public var comment: String

    /// What is saved of a block that stands.
    init(_ block: OwnBlock) {
      family = block.family
      element = block.element
      timeout = block.timeout
      comment = block.memberComment
    }
  }

  /// The shape of the file.
  public var version = 1
  /// When it was saved, in seconds since 1970 UTC.
  public var saved: Double
  /// The blocks.
  public var blocks: [Block]
  /// Blocks that were not put back, as the rules admitted their peers or that could not be told; kept
  /// until their time is over, for the next boot.
  public var leftOut: [Block]?

  /// The file within the state folder.
  public static let fileName = "blocks.json"

  /// Takes the blocks of a firewall.
  ///
  /// - Parameters:
  ///   - snapshot: The firewall, with its sets.
  ///   - time: Now, in seconds since 1970 UTC.
  public init(_ snapshot: FirewallSnapshot, at time: Double) {
    saved = time
    let own = snapshot.ownBlocks(at: time)
    let known = Set(own.map(\.element))
    // What a foreign rule keeps from being renewed is in force all the same.
    let spoilt = snapshot.spoiltBlocks(at: time).map(\.block).filter {
      $0.isHooked && !known.contains($0.element)
    }
    blocks = (own + spoilt).filter { !$0.isOver }.map(Block.init)
  }

  /// The blocks that are not over at a time, with what they have left.
  ///
  /// A clock that went backwards (a board without a battery) lengthens nothing.
  ///
  /// - Parameter time: Now, in seconds since 1970 UTC.
  /// - Returns: The blocks.
  public func remaining(at time: Double) -> [Block] {
    let passed = max(0, time - saved)
    let standing = Set(blocks.map(\.element))
    let others = (leftOut ?? []).filter { !standing.contains($0.element) }
    return (blocks + others).compactMap { block in
      guard block.timeout > 0 else { return block }
      let left = Double(block.timeout) - passed
      guard left >= 1 else { return nil }
      var rest = block
      rest.timeout = UInt32(left)
      return rest
    }
  }

  /// Keeps blocks of an earlier list that were not put back, and those of now.
  ///
  /// - Parameters:
  ///   - earlier: The list that is written over; what it left out and is neither over nor standing
  ///     again is kept.
  ///   - blocks: What was left out just now; `nil` where nothing was put back.
  public mutating func keepLeftOut(of earlier: SavedBlocks?, _ blocks: [Block]? = nil) {
    let standing = Set(self.blocks.map(\.element))
    var old = earlier
    old?.blocks = []
    let kept = (blocks ?? old?.remaining(at: saved) ?? []).filter {
      !standing.contains($0.element)
    }
    leftOut = kept.isEmpty ? nil : kept
  }

  /// Forgets what was left out of some addresses.
  ///
  /// - Parameter addresses: Whose; `nil` for all.
  /// - Returns: The entries that were forgotten.
  public mutating func forgetLeftOut(of addresses: [IPAddress]?) -> [String] {
    func isMeant(_ block: Block) -> Bool {
      guard let addresses else { return true }
      guard let prefix = OwnObjects.parse(block.element)?.prefix else { return false }
      return addresses.contains { prefix.contains($0) }
    }
    let forgotten = (leftOut ?? []).filter(isMeant).map(\.element)
    leftOut?.removeAll(where: isMeant)
    if leftOut?.isEmpty == true { leftOut = nil }
    return forgotten
  }

  /// Blocks as plain rules hold them, from a time on; what is no block is left out.
  static func plain(_ blocks: [Block], from time: Double) -> [PlainBlock] {
    blocks.compactMap { block in
      // What a set would refuse, a rule might not.
      guard let target = OwnObjects.parse(block.element), target.address.family == block.family,
        target.transport == .udp || target.transport == .tcp,
        target.prefix.length >= (block.family == .ipv4 ? 8 : 32)
      else { return nil }
      return PlainBlock(
        prefix: target.prefix, transport: target.transport, port: target.port,
        seconds: min(block.timeout, UInt32(OwnObjects.longestTimeout)), from: time,
        reason: OwnObjects.reason(block.comment))
    }
  }

  /// Input for `ipset restore` that makes our sets, and fills them with blocks.
  ///
  /// Everything in it is read back before it is printed: the file may have been changed.
  ///
  /// - Parameter blocks: The blocks; none makes empty sets.
  /// - Returns: The lines.
  public static func setText(_ blocks: [Block]) -> String {
    let creates = AddressFamily.allCases.map(OwnObjects.createLine)
    let adds = blocks.compactMap { block -> String? in
      guard let parsed = OwnObjects.parse(block.element), parsed.address.family == block.family
      else { return nil }
      return "add -exist \(OwnObjects.setName(block.family)) \(parsed.prefix),"
        + "\(parsed.transport):\(parsed.port) timeout \(min(block.timeout, UInt32(OwnObjects.longestTimeout))) "
        + "comment \"\(OwnObjects.plain(block.comment))\""
    }
    return (creates + adds).map { $0 + "\n" }.joined()
  }

  /// Writes the blocks to a folder, in place of those saved before.
  ///
  /// - Parameter folder: The state folder.
  /// - Throws: ``SIPLeakError`` with the code `history`; the file is as it was.
  public func save(in folder: FilePath) throws(SIPLeakError) {
    let file = folder.appending(Self.fileName)
    do {
      try WholeFile.write(JSONEncoder().encode(self), to: file)
    } catch {
      throw SIPLeakError(
        .history, "cannot save the blocks in \(file): \(error)",
        advice: "They stand, and a reboot would lift them.")
    }
  }

  /// Reads the blocks of a folder.
  ///
  /// - Parameter folder: The state folder.
  /// - Returns: The blocks, or `nil` when none were saved.
  /// - Throws: ``SIPLeakError`` with the code `badFile`.
  public static func load(from folder: FilePath) throws(SIPLeakError) -> SavedBlocks? {
    let file = folder.appending(fileName)
    guard let bytes = FileManager.default.contents(atPath: file.string) else { return nil }
    guard let saved = try? JSONDecoder().decode(SavedBlocks.self, from: bytes),
      saved.saved.isFinite
    else {
      throw SIPLeakError(
        .badFile, "\(file) is no list of saved blocks", advice: "It was left as it is.")
    }
    guard saved.version == 1 else {
      throw SIPLeakError(
        .badFile, "\(file) is of a newer sipleak", advice: "It was left as it is.")
    }
    return saved
  }
}
