package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.dgms.tflite.DgmsDelegate;

/** The machine that the tests run on, with a thermal status and cores of one's choice. */
class TestEnvironment implements Environment {
  final List<String> lines = Collections.synchronizedList(new ArrayList<String>());
  final List<String> sustained = Collections.synchronizedList(new ArrayList<String>());
  CpuTopology topology = CpuTopology.read(CpuTopology.SYSFS);
  String thermalStatus;

  @Override
  public MachineInfo machine() {
    MachineInfo.Builder machine = new MachineInfo.Builder(topology).setKind("desktop", "test");
    if (DgmsDelegate.isAvailable()) {
      machine.setDelegate(DgmsDelegate.cpuFeatures(), DgmsDelegate.kernelSet());
    }
    return machine.build();
  }

  @Override
  public CpuTopology cpuTopology() {
    return topology;
  }

  @Override
  public String toolVersion() {
    return "test";
  }

  @Override
  public String thermalStatus() {
    return thermalStatus;
  }

  @Override
  public boolean setSustainedPerformance(boolean on) {
    sustained.add(on ? "on" : "off");
    return on;
  }

  @Override
  public void log(String line) {
    lines.add(line);
  }
}
