public import Addressing

/// A snapshot of one ipset, as `ipset save` prints it.
public struct AddressSet: Sendable, Hashable, Codable {
  /// One entry with its own options, such as `timeout 86400` or `nomatch`.
  public struct Entry: Sendable, Hashable, Codable {
    /// The entry's text, such as `203.0.113.66,udp:5060`.
    public var element: String
    /// Seconds left; `nil` when the entry has no timeout.
    ///
    /// 0 means permanent in a set with timeouts.
    public var timeout: UInt32?
    /// Whether the entry is an exception (`nomatch`).
    public var isException: Bool
    /// Packets and bytes, if the set counts.
    public var counters: RuleCounters?
    /// The entry's comment, unquoted; not escaped for terminals.
    public var comment: String?

    /// Makes an entry.
    public init(
      element: String, timeout: UInt32? = nil, isException: Bool = false,
      counters: RuleCounters? = nil, comment: String? = nil
    ) {
      self.element = element
      self.timeout = timeout
      self.isException = isException
      self.counters = counters
      self.comment = comment
    }
  }

  /// The set's name.
  public var name: String
  /// The type, such as `hash:net,port`.
  public var type: String
  /// The family of its addresses, if it has one.
  public var family: AddressFamily?
  /// The create line's other options, in order, such as `timeout 0 maxelem 65536`.
  public var createOptions: [String]
  /// The entries.
  public var entries: [Entry]

  /// Makes a set.
  public init(
    name: String, type: String, family: AddressFamily?, createOptions: [String] = [],
    entries: [Entry] = []
  ) {
    self.name = name
    self.type = type
    self.family = family
    self.createOptions = createOptions
    self.entries = entries
  }
}
