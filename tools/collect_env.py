"""Print versions and hardware, for reports: tools/collect_env.py."""

from openmix.engine.environment import commit, environment

if __name__ == '__main__':
    for name, value in {**environment(), 'commit': commit()}.items():
        print(f'{name}: {value}')
