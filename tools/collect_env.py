"""Print versions and hardware, for reports: tools/collect_env.py."""

from openmix.arguments import CommandParser
from openmix.entry_point import command


@command
def main() -> None:
    CommandParser('Print versions and hardware, for reports.').parse_args()
    from openmix.engine.environment import commit, environment, namesake

    for name, value in {**environment(), 'commit': commit()}.items():
        print(f'{name}: {value}')
    if (other := namesake()) is not None:
        print(f'warning: {other}')


if __name__ == '__main__':
    main()
