import SystemPackage

/// The parameters of the SIP helper (`nf_conntrack_sip`): one set for the whole machine.
///
/// The files are readable by root of the initial user namespace only (facts A4d); what couldn't be
/// read is `nil`.
public struct SIPHelperSettings: Sendable, Hashable, Codable {
  /// Whether the kernel has the helper, as a module or built in.
  public var isLoaded: Bool
  /// Whether an expectation of a registration admits the registrar alone.
  ///
  /// `sip_direct_signalling`; 0 makes one that admits anybody (facts A4).
  public var directSignalling: Bool?
  /// Whether an expectation of media admits the other end of the call alone.
  ///
  /// `sip_direct_media`; 0 makes one that admits anybody (facts A4d).
  public var directMedia: Bool?
  /// Seconds that the helper lets a flow live, and expectations without an `Expires`.
  ///
  /// `sip_timeout`.
  public var timeout: UInt32?
  /// The ports the helper takes where it is assigned by itself.
  ///
  /// `ports`.
  public var ports: [UInt16]?

  /// Makes settings of which nothing but the helper's presence is known.
  public init(isLoaded: Bool) { self.isLoaded = isLoaded }

  static let folder = FilePath("/sys/module/nf_conntrack_sip/parameters")
  static let names = ["sip_direct_signalling", "sip_direct_media", "sip_timeout", "ports"]

  /// The settings as the files tell; `nil` where it is not even known whether there is a helper.
  static func read(_ files: [FilePath: String], isLoaded: Bool?) -> SIPHelperSettings? {
    guard let isLoaded else { return nil }
    var settings = SIPHelperSettings(isLoaded: isLoaded)
    func text(_ name: String) -> String? { files[folder.appending(name)] }
    settings.directSignalling = text("sip_direct_signalling").flatMap(SysctlNumber.parse)
      .map { $0 != 0 }
    settings.directMedia = text("sip_direct_media").flatMap(SysctlNumber.parse).map { $0 != 0 }
    settings.timeout = text("sip_timeout").flatMap(SysctlNumber.parse)
    settings.ports = text("ports").flatMap { text in
      let words = text.split(whereSeparator: { $0 == "," || $0.isWhitespace })
      let ports = words.compactMap { UInt16($0) }
      return ports.count == words.count ? ports : nil
    }
    return settings
  }

  /// Whether this kernel has the helper; `nil` where `/sys` doesn't show modules.
  static var isThere: Bool? {
    func exists(_ path: String) -> Bool { (try? FilePath(path).stat()) != nil }
    if exists("/sys/module/nf_conntrack_sip") { return true }
    return exists("/sys/module/kernel") || exists("/sys/module/nf_conntrack") ? false : nil
  }
}
