import ArgumentParser
import Lab
import SIPLeak

/// `sipleak demo`.
struct DemoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Play a live leak on a real kernel: found, explained, blocked and proved shut.",
    discussion: """
      Makes private network namespaces with a PBX, a carrier and an attacker, and runs sipleak in \
      them. Needs no root and touches nothing on this machine; everything vanishes when it ends.

      Exit status: 0 all came as told, 1 something did not, 69 namespaces or tools are not to be had.
      """)

  func run() async throws {
    let style = Console.style
    do {
      if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
      guard let program = PrivateNamespaces.program else {
        throw SIPLeakError(.unreadable, "cannot find this program's own file")
      }
      let demo = Demo(
        program: program, print: { Console.print($0) },
        heading: { style.isColoured ? "\u{1b}[1m\($0)\u{1b}[0m" : $0 })
      if try await demo.run() == false { throw ExitCode(1) }
    } catch let error as LabError {
      Console.note("sipleak: \(EscapedText.terminal("\(error)"))")
      throw ExitCode(69)
    }
  }
}
