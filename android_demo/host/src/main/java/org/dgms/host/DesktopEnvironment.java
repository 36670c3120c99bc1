package org.dgms.host;

import java.io.PrintStream;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Collections;
import org.dgms.demo.bench.CpuTopology;
import org.dgms.demo.bench.Environment;
import org.dgms.demo.bench.MachineInfo;
import org.dgms.tflite.DgmsDelegate;

/** A desktop as the app's benchmark runner sees it. */
public final class DesktopEnvironment implements Environment {
  private final CpuTopology topology = CpuTopology.read(CpuTopology.SYSFS);
  private final PrintStream out;

  /** Log lines go to that stream. */
  public DesktopEnvironment(PrintStream out) {
    this.out = out;
  }

  @Override
  public MachineInfo machine() {
    MachineInfo.Builder machine =
        new MachineInfo.Builder(topology)
            .setKind("desktop", hostName())
            .setJava(System.getProperty("java.version"));
    if (DgmsDelegate.isAvailable()) {
      machine.setDelegate(DgmsDelegate.cpuFeatures(), DgmsDelegate.kernelSet());
    } else {
      machine.setDelegate(Collections.<String>emptyList(), null);
    }
    return machine.build();
  }

  private static String hostName() {
    try {
      return InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException e) {
      return "localhost"; // a machine without a name in DNS or /etc/hosts
    }
  }

  @Override
  public CpuTopology cpuTopology() {
    return topology;
  }

  @Override
  public String toolVersion() {
    return "host";
  }

  @Override
  public String thermalStatus() {
    return null; // desktops have no such status
  }

  @Override
  public boolean setSustainedPerformance(boolean on) {
    return false;
  }

  @Override
  public void log(String line) {
    out.println("  " + line);
  }
}
